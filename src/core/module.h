/* Modules: shared objects that are loaded when they are wanted, so that what they need may be absent. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_MODULE_H
#define PARA_CORE_MODULE_H

#include <paraattn/status.h>

/* Loads `file` ("paraattn-mpi.so") and finds `function` in it. Looked at, in this order: the folder that the environment variable PARAATTN_MODULES
 * names; the folder of the library itself (of the program, where it is linked statically) and `paraattn` in it; the folder that it was
 * installed to. The module stays loaded. `needs` names in the sentence what has to be installed.
 * PARA_ERR_LIBRARY, PARA_ERR_MEMORY. */
para_status para_module_load(const char *file, const char *function, const char *needs, void **out);

#endif
