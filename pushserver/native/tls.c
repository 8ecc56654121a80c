/* Write through a TLS socket of Python's ssl module while keeping the interpreter's lock.
 *
 * The module's own write gives the lock up each time for a few microseconds, and beside a thread
 * that computes it waits long to get it back. There is no interface to what lies below. So
 * OpenSSL's functions are looked up by name in the library that the module itself has loaded, and
 * the connection's position in the module's object is trusted only if the fields on both sides of
 * it are as expected. If any of this fails, tls_ready says no, and Python's own write is used.
 */
#include "tls.h"

#define RECORD 16384 /* as in sockets.py */

#if PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED) && \
    (defined(__linux__) || defined(__APPLE__))
#include <dlfcn.h>

#define WANT_READ 2
#define WANT_WRITE 3

/* The beginning of the object in Python 3.10 to 3.13. */
struct connection {
    PyObject_HEAD
    PyObject *socket; /* a weak reference */
    void *ssl;
    PyObject *context;
};

static struct {
    int (*write)(void *, const void *, int);
    int (*get_error)(const void *, int);
    int (*get_fd)(const void *);
    void (*clear_error)(void);
} openssl;

static PyTypeObject *known; /* the type of the objects that were as expected */

/* Find OpenSSL's functions where the ssl module has them; return whether they are there. */
static int
find_openssl(void)
{
    static int found = -1;
    if (found >= 0)
        return found;
    found = 0;
    PyObject *module = PyImport_ImportModule("_ssl");
    PyObject *path = module == NULL ? NULL : PyObject_GetAttrString(module, "__file__");
    const char *name = path == NULL ? NULL : PyUnicode_AsUTF8(path);
    void *library = name == NULL ? NULL : dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
    if (library != NULL) {
        *(void **)&openssl.write = dlsym(library, "SSL_write");
        *(void **)&openssl.get_error = dlsym(library, "SSL_get_error");
        *(void **)&openssl.get_fd = dlsym(library, "SSL_get_fd");
        *(void **)&openssl.clear_error = dlsym(library, "ERR_clear_error");
        found = openssl.write && openssl.get_error && openssl.get_fd && openssl.clear_error;
    }
    Py_XDECREF(path);
    Py_XDECREF(module);
    PyErr_Clear();
    return found;
}

/* Return whether an object is laid out as expected: the neighbouring fields match Python's view. */
static int
is_as_expected(PyObject *object, int fd)
{
    struct connection *inner = (struct connection *)object;
    if (Py_TYPE(object)->tp_basicsize < (Py_ssize_t)sizeof(struct connection))
        return 0;
    PyObject *context = PyObject_GetAttrString(object, "context");
    int same = context != NULL && context == inner->context && inner->socket != NULL &&
               PyWeakref_Check(inner->socket) && inner->ssl != NULL;
    Py_XDECREF(context);
    return same && openssl.get_fd(inner->ssl) == fd;
}

PyObject *
tls_ready(PyObject *self, PyObject *socket)
{
    int fd = PyObject_AsFileDescriptor(socket);
    PyObject *object = fd < 0 ? NULL : PyObject_GetAttrString(socket, "_sslobj");
    int ready = object != NULL && object != Py_None && find_openssl() &&
                (Py_TYPE(object) == known || known == NULL) && is_as_expected(object, fd);
    if (ready)
        known = Py_TYPE(object);
    Py_XDECREF(object);
    PyErr_Clear();
    return PyBool_FromLong(ready);
}

/* Write one record; return the bytes taken, 0 or LOST. */
static int
write_record(void *ssl, const char *data, Py_ssize_t size)
{
    openssl.clear_error();
    int sent = openssl.write(ssl, data, (int)size);
    if (sent > 0)
        return sent;
    int error = openssl.get_error(ssl, sent);
    openssl.clear_error();
    return error == WANT_READ || error == WANT_WRITE ? 0 : LOST;
}

int
tls_write(PyObject *socket, const char *data, Py_ssize_t size)
{
    PyObject *object = PyObject_GetAttrString(socket, "_sslobj"); /* None once it is closed */
    int total = 0, sent = object != NULL && Py_TYPE(object) == known ? 1 : LOST;
    while (sent > 0 && total < size) {
        Py_ssize_t left = size - total;
        sent = write_record(((struct connection *)object)->ssl, data + total,
                            left < RECORD ? left : RECORD);
        if (sent > 0)
            total += sent;
    }
    Py_XDECREF(object);
    PyErr_Clear();
    return sent == LOST ? LOST : total;
}

#else

PyObject *
tls_ready(PyObject *self, PyObject *socket)
{
    Py_RETURN_FALSE;
}

int
tls_write(PyObject *socket, const char *data, Py_ssize_t size)
{
    return LOST;
}

#endif
