/* Writing through the TLS sockets of Python's ssl module; see tls.c. */
#ifndef PUSHSERVER_TLS_H
#define PUSHSERVER_TLS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define LOST (-1)    /* the peer is gone */
#define SKIPPED (-2) /* nothing was given to write to */

/* Write once; how many bytes were taken, 0 if none can be now, or LOST. Needs Python's lock. */
int tls_write(PyObject *socket, const char *data, Py_ssize_t size);

/* Tell whether tls_write works with a socket: True or False. */
PyObject *tls_ready(PyObject *self, PyObject *socket);

#endif
