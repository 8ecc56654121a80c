/* Write through the TLS sockets of Python's ssl module; see tls.c. */
#ifndef PUSHSERVER_TLS_H
#define PUSHSERVER_TLS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define LOST (-1)    /* the peer is gone */
#define SKIPPED (-2) /* there was nothing to write to */

/* Write once; return how many bytes were taken, 0 if none can be now, or LOST. Needs the
 * interpreter's lock. */
int tls_write(PyObject *socket, const char *data, Py_ssize_t size);

/* Return True or False: whether tls_write works with a socket. */
PyObject *tls_ready(PyObject *self, PyObject *socket);

#endif
