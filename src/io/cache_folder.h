/* The user's cache folder. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_CACHE_FOLDER_H
#define PARA_IO_CACHE_FOLDER_H

#include <paraattn/status.h>

/* $XDG_CACHE_HOME/paraattn, or ~/.cache/paraattn; *out to be freed, NULL where the environment names none. PARA_ERR_MEMORY. */
para_status para_cache_folder(char **out);
/* Creates a folder and the one above it where they are not there. */
void para_make_folder(const char *path);

#endif
