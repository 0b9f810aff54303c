/* Calls into libraries that may never return, waited for no longer than so. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_ERRAND_H
#define PARA_CORE_ERRAND_H

#include <paraattn/status.h>
#include <stdbool.h>

/* Runs call(argument) on a thread of its own, which takes no signals, and waits `seconds` for it. *returned tells whether it came back; where it
 * did not, the thread stays behind and still uses `argument`. PARA_ERR_MEMORY, PARA_ERR_LIBRARY: it did not start. */
para_status para_errand(void (*call)(void *argument), void *argument, double seconds, bool *returned);

#endif
