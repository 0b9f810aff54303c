/* Paths. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CORE_PATH_H
#define PARA_CORE_PATH_H

#include <stdbool.h>

/* "<folder>/<name><suffix>", para_free; NULL with the sentence set when memory is out. */
char *para_path_join(const char *folder, const char *name, const char *suffix);
/* Whether the path has that ending (".png") behind at least one character. */
bool para_path_ends(const char *path, const char *ending);

#endif
