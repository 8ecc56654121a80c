/* Write to many sockets in one call, read from one, and unmask, without Python's cost for each.
 *
 * Optional: pushserver runs without it (sockets.py and frames.py do the same in Python). No call
 * waits: sockets are non-blocking. Short calls keep the interpreter's lock, because a thread that
 * gives it up beside a busy one waits milliseconds to get it back.
 */
#include "tls.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS; Python ignores SIGPIPE */
#endif

#define KEEP_LOCK_UNITS 64 /* up to this many sends of 16 KiB keep the lock */
#define UNIT 16384
#define AHEAD 8 /* how many items ahead memory is prefetched */
#define CACHE_LINE 64
#define RECEIVE_SIZE 16384 /* as in sockets.py */
#define PLACE_SIZE 262144

static PyObject *direct; /* the attribute's name */

static int
write_once(int fd, const char *data, Py_ssize_t size)
{
    ssize_t sent;
    do {
        sent = send(fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return (int)sent;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : LOST;
}

/* One write: `sent` is the descriptor before it and the result after it. */
struct job {
    int sent;
    PyObject *tls; /* instead of a descriptor; its item keeps it alive */
    Py_ssize_t size;
    const char *data;
};

static Py_ssize_t
units_of(const struct job *job, Py_ssize_t most)
{
    return 1 + (job->size < most ? job->size : most) / UNIT;
}

static void
write_plain(struct job *jobs, Py_ssize_t count, Py_ssize_t most)
{
    for (struct job *job = jobs; job < jobs + count; job++)
        if (job->tls == NULL && job->sent != SKIPPED)
            job->sent = write_once(job->sent, job->data, job->size < most ? job->size : most);
}

/* Write to the TLS sockets, which needs the lock; let other threads have it now and then. */
static void
write_tls(struct job *jobs, Py_ssize_t count, Py_ssize_t most)
{
    Py_ssize_t units = 0;
    for (struct job *job = jobs; job < jobs + count; job++) {
        if (job->tls == NULL)
            continue;
        job->sent = tls_write(job->tls, job->data, job->size < most ? job->size : most);
        units += units_of(job, most);
        if (units > KEEP_LOCK_UNITS) {
            units = 0;
            Py_BEGIN_ALLOW_THREADS
            Py_END_ALLOW_THREADS
        }
    }
}

/* Do all writes, without the lock if they take long, and list those that were not complete. */
static PyObject *
run(struct job *jobs, Py_ssize_t count, Py_ssize_t most)
{
    Py_ssize_t plain = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        if (jobs[i].tls == NULL)
            plain += units_of(jobs + i, most);
    if (plain <= KEEP_LOCK_UNITS) {
        write_plain(jobs, count, most);
    } else {
        Py_BEGIN_ALLOW_THREADS
        write_plain(jobs, count, most);
        Py_END_ALLOW_THREADS
    }
    write_tls(jobs, count, most);
    PyObject *result = PyList_New(0);
    for (Py_ssize_t i = 0; result != NULL && i < count; i++) {
        if (jobs[i].sent != jobs[i].size) {
            PyObject *pair = Py_BuildValue("ni", i, jobs[i].sent);
            if (pair == NULL || PyList_Append(result, pair) < 0)
                Py_CLEAR(result);
            Py_XDECREF(pair);
        }
    }
    return result;
}

/* Fill a job from an item's `direct`: a descriptor, a TLS socket or None. */
static int
fill_job(struct job *job, PyObject *item)
{
    PyObject *target = PyObject_GetAttr(item, direct);
    if (target == NULL)
        return -1;
    job->tls = NULL;
    job->sent = SKIPPED;
    if (PyLong_Check(target))
        job->sent = (int)PyLong_AsLong(target);
    else if (target != Py_None)
        job->tls = target;
    Py_DECREF(target); /* the item keeps it alive */
    return job->sent == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Return a job for each item of a tuple or list, or NULL with an exception set. */
static struct job *
jobs_for(PyObject *items)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    PyObject **item = PySequence_Fast_ITEMS(items);
    struct job *jobs = PyMem_New(struct job, count ? count : 1);
    if (jobs == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i + AHEAD < count) { /* items are far apart in memory */
            __builtin_prefetch(item[i + AHEAD]);
            __builtin_prefetch((char *)item[i + AHEAD] + CACHE_LINE);
        }
        if (fill_job(jobs + i, item[i]) < 0) {
            PyMem_Free(jobs);
            return NULL;
        }
    }
    return jobs;
}

PyDoc_STRVAR(send_many_doc,
"send_many(items, data, most) -> [(index, sent), ...]\n\n"
"Write the same bytes, at most `most` of them, once to each item's `direct`: a descriptor, a TLS\n"
"socket that tls_ready() has accepted, or None. Return the items that did not take all of `data`,\n"
"each with the number of bytes taken, -1 if the peer is gone, or -2 for None. `items` is a tuple\n"
"or a list, which must not change during the call.");

static PyObject *
send_many(PyObject *self, PyObject *args)
{
    PyObject *items, *data, *result;
    Py_ssize_t most, count;
    struct job *jobs;

    if (!PyArg_ParseTuple(args, "OSn", &items, &data, &most))
        return NULL;
    if ((items = PySequence_Fast(items, "items must be a sequence")) == NULL)
        return NULL;
    count = PySequence_Fast_GET_SIZE(items);
    if ((jobs = jobs_for(items)) == NULL) {
        Py_DECREF(items);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        jobs[i].data = PyBytes_AS_STRING(data);
        jobs[i].size = PyBytes_GET_SIZE(data);
    }
    result = run(jobs, count, most);
    PyMem_Free(jobs);
    Py_DECREF(items);
    return result;
}

PyDoc_STRVAR(send_each_doc,
"send_each(items, data, most) -> [(index, sent), ...]\n\n"
"Write to each item of one list the bytes at the same index of the other; see send_many.");

static PyObject *
send_each(PyObject *self, PyObject *args)
{
    PyObject *items, *data, *result;
    Py_ssize_t most, count;
    struct job *jobs;

    if (!PyArg_ParseTuple(args, "O!O!n", &PyList_Type, &items, &PyList_Type, &data, &most))
        return NULL;
    count = PyList_GET_SIZE(items);
    if (count != PyList_GET_SIZE(data)) {
        PyErr_SetString(PyExc_ValueError, "the lists differ in length");
        return NULL;
    }
    if ((jobs = jobs_for(items)) == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *bytes = PyList_GET_ITEM(data, i);
        if (!PyBytes_Check(bytes)) {
            PyErr_SetString(PyExc_TypeError, "data must be bytes");
            PyMem_Free(jobs);
            return NULL;
        }
        jobs[i].data = PyBytes_AS_STRING(bytes);
        jobs[i].size = PyBytes_GET_SIZE(bytes);
    }
    result = run(jobs, count, most);
    PyMem_Free(jobs);
    return result;
}

PyDoc_STRVAR(send_doc,
"send(target, data) -> sent\n\n"
"Write bytes once, to a descriptor or a TLS socket, and return how many were taken: 0 if none can\n"
"be taken now, -1 if the peer is gone.");

static PyObject *
send_one(PyObject *self, PyObject *args)
{
    PyObject *target;
    Py_buffer data;
    int fd = -1, sent;

    if (!PyArg_ParseTuple(args, "Oy*", &target, &data))
        return NULL;
    if (PyLong_Check(target)) {
        fd = (int)PyLong_AsLong(target);
        sent = fd < 0 ? LOST : write_once(fd, data.buf, data.len);
    } else {
        sent = tls_write(target, data.buf, data.len);
    }
    PyBuffer_Release(&data);
    return PyErr_Occurred() ? NULL : PyLong_FromLong(sent);
}

PyDoc_STRVAR(wake_doc,
"wake(socket) -> None\n\n"
"Write one byte, if there is room for it and the socket is open, to wake who waits for it.");

/* Takes the object, not its descriptor: that may be another's by the time of the call. */
static PyObject *
wake(PyObject *self, PyObject *socket)
{
    int fd = PyObject_AsFileDescriptor(socket);
    if (fd < 0)
        PyErr_Clear(); /* closed */
    else
        write_once(fd, "", 1);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tls_ready_doc,
"tls_ready(socket) -> bool\n\n"
"Tell whether the calls above work with an ssl.SSLSocket; that depends on the Python version.");

PyDoc_STRVAR(receive_doc,
"receive(descriptor) -> bytes or None\n\n"
"Read once; return None if nothing has arrived, empty bytes if nothing ever will.");

static PyObject *
receive(PyObject *self, PyObject *argument)
{
    static char buffer[RECEIVE_SIZE]; /* safe, because the lock is held while it is in use */
    ssize_t size;
    int fd = (int)PyLong_AsLong(argument);

    if (fd == -1 && PyErr_Occurred())
        return NULL;
    do {
        size = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(buffer, size < 0 ? 0 : size);
}

/* XOR with a four-byte key, starting at its first byte; `out` may be `in`. The compiler turns the
 * inner loop into wide instructions. */
static void
mask_bytes(unsigned char *out, const unsigned char *in, Py_ssize_t size, const unsigned char *key)
{
    Py_ssize_t i = 0;
    uint64_t wide, part[8];
    memcpy(&wide, key, 4);
    memcpy((char *)&wide + 4, key, 4);
    for (; i + 64 <= size; i += 64) {
        memcpy(part, in + i, 64);
        for (int j = 0; j < 8; j++)
            part[j] ^= wide;
        memcpy(out + i, part, 64);
    }
    for (; i < size; i++)
        out[i] = in[i] ^ key[i & 3];
}

PyDoc_STRVAR(apply_mask_doc,
"apply_mask(data, key) -> bytes\n\n"
"XOR bytes with a four-byte key, repeated.");

static PyObject *
apply_mask(PyObject *self, PyObject *args)
{
    Py_buffer data, key;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(args, "y*y*", &data, &key))
        return NULL;
    if (key.len != 4)
        PyErr_SetString(PyExc_ValueError, "the key must have four bytes");
    else if ((result = PyBytes_FromStringAndSize(NULL, data.len)) != NULL)
        mask_bytes((unsigned char *)PyBytes_AS_STRING(result), data.buf, data.len, key.buf);
    PyBuffer_Release(&data);
    PyBuffer_Release(&key);
    return result;
}

PyDoc_STRVAR(blank_doc,
"blank(size, head) -> bytes\n\n"
"Return `size` bytes that begin with `head`; receive_masked fills the rest before anyone sees it.");

static PyObject *
blank(PyObject *self, PyObject *args)
{
    Py_ssize_t size;
    Py_buffer head;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(args, "ny*", &size, &head))
        return NULL;
    if (size < head.len)
        PyErr_SetString(PyExc_ValueError, "the head is longer than the whole");
    else if ((result = PyBytes_FromStringAndSize(NULL, size)) != NULL)
        memcpy(PyBytes_AS_STRING(result), head.buf, (size_t)head.len);
    PyBuffer_Release(&head);
    return result;
}

PyDoc_STRVAR(receive_masked_doc,
"receive_masked(descriptor, target, offset, key) -> size or None\n\n"
"Read once into `target`, which blank() made, from `offset` on, and unmask with a key that starts\n"
"there. Return 0 if nothing will ever arrive, None if nothing has.");

static PyObject *
receive_masked(PyObject *self, PyObject *args)
{
    PyObject *target;
    Py_buffer key;
    Py_ssize_t offset, room;
    ssize_t size = -1;
    int fd;

    if (!PyArg_ParseTuple(args, "iSny*", &fd, &target, &offset, &key))
        return NULL;
    room = PyBytes_GET_SIZE(target) - offset;
    if (key.len != 4 || offset < 0 || room <= 0) {
        PyErr_SetString(PyExc_ValueError, "the key must have four bytes, and the offset be inside");
    } else {
        unsigned char *place = (unsigned char *)PyBytes_AS_STRING(target) + offset;
        do {
            size = recv(fd, place, (size_t)(room < PLACE_SIZE ? room : PLACE_SIZE),
                        MSG_DONTWAIT);
        } while (size < 0 && errno == EINTR);
        if (size > 0)
            mask_bytes(place, place, size, key.buf);
    }
    int later = size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    PyBuffer_Release(&key);
    if (PyErr_Occurred())
        return NULL;
    if (later)
        Py_RETURN_NONE;
    return PyLong_FromSsize_t(size < 0 ? 0 : size);
}

PyDoc_STRVAR(wait_sharply_doc,
"wait_sharply() -> None\n\n"
"Have the system end this thread's timed waits when they are due, not up to 50 us later. These\n"
"include waits for the interpreter's lock, one for each of a thousand writes. Linux only.");

static PyObject *
wait_sharply(PyObject *self, PyObject *ignored)
{
#ifdef __linux__
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
#endif
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"send_many", send_many, METH_VARARGS, send_many_doc},
    {"send_each", send_each, METH_VARARGS, send_each_doc},
    {"send", send_one, METH_VARARGS, send_doc},
    {"wake", wake, METH_O, wake_doc},
    {"tls_ready", tls_ready, METH_O, tls_ready_doc},
    {"receive", receive, METH_O, receive_doc},
    {"apply_mask", apply_mask, METH_VARARGS, apply_mask_doc},
    {"blank", blank, METH_VARARGS, blank_doc},
    {"receive_masked", receive_masked, METH_VARARGS, receive_masked_doc},
    {"wait_sharply", wait_sharply, METH_NOARGS, wait_sharply_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "The parts of pushserver that are faster in C.",
    0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    if (direct == NULL && (direct = PyUnicode_InternFromString("direct")) == NULL)
        return NULL;
    return PyModule_Create(&module);
}
