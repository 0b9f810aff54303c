/* Version of the library. Part of libparaattn; SPDX-License-Identifier: Apache-2.0 */
#ifndef PARAATTN_VERSION_H
#define PARAATTN_VERSION_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PARA_VERSION_MAJOR 0
#define PARA_VERSION_MINOR 1
#define PARA_VERSION_PATCH 0

/* "0.1.0": of the library that runs, not of the header. */
PARA_API const char *para_version(void);
/* The back ends that are built in and their libraries: "cpu (oneDNN 2.6.3, OpenMP)". Static string, any thread. */
PARA_API const char *para_build_info(void);

#ifdef __cplusplus
}
#endif
#endif
