/* What was found on a machine at some cost, kept from process to process in the user's cache folder. SPDX-License-Identifier: Apache-2.0
 *
 * A file for each machine, $XDG_CACHE_HOME/paraattn/choices-… (~/.cache/paraattn/…), text: two lines that say what it is and of which machine, then a line for
 * each choice with a checksum. Whoever adds one reads what others have added meanwhile, under a lock, and the first choice for a key holds for
 * everybody. A file that is damaged is left aside and written anew; without a place to write, choices last as long as the process. */
#ifndef PARA_BACKEND_CHOICES_H
#define PARA_BACKEND_CHOICES_H

#include "backend/backend.h"

typedef struct para_choices para_choices;

/* machine: what the choices depend on besides their keys, in one line; dev: whose note hears of files that are damaged or cannot be written; it must
 * outlast the choices. PARA_ERR_MEMORY. */
para_status para_choices_open(para_choices **out, const para_device *dev, const char *machine);
void para_choices_close(para_choices **choices); /* takes NULL in it */

/* The choice for a key of a kind (a word), and its size; or NULL. Valid until close. */
const void *para_choices_find(const para_choices *choices, const char *kind, const void *key, size_t key_bytes, size_t *value_bytes);
/* Adds a choice, unless there is one for the key: find it again. Where it cannot be kept, that is no error. PARA_ERR_MEMORY. */
para_status para_choices_add(para_choices *choices, const char *kind, const void *key, size_t key_bytes, const void *value, size_t value_bytes);

#endif
