/* Prompts from a file. SPDX-License-Identifier: Apache-2.0 */
#include "prompt_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"

/* All of the file with a 0 behind it, or NULL. */
static char *read_all(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) return NULL;
    char *bytes = NULL, *copied = NULL;
    size_t room = 0;
    ssize_t n = getdelim(&bytes, &room, '\0', file);
    if (n > 0) copied = strndup(bytes, (size_t)n);
    else if (!ferror(file)) copied = strdup("");
    fclose(file);
    free(bytes);
    return copied;
}

static bool add_lines(prompt_list *p) {
    size_t lines = 1;
    for (const char *c = p->bytes; *c; c++) lines += *c == '\n';
    if (!(p->text = calloc(lines, sizeof *p->text))) return false;
    char *rest = p->bytes;
    for (char *line; (line = strsep(&rest, "\r\n"));)
        if (*line && *line != '#') p->text[p->count++] = line;
    return true;
}

bool prompt_file_read(prompt_list *out, const char *path, const char *command) {
    *out = (prompt_list){0};
    if (!(out->bytes = read_all(path)) || !add_lines(out)) {
        complain(command, "'%s' cannot be read: %s", path, strerror(errno));
        return false;
    }
    if (out->count == 0) complain(command, "'%s' has no prompt; write one a line", path);
    return out->count > 0;
}

void prompt_list_free(prompt_list *prompts) {
    free(prompts->text);
    free(prompts->bytes);
    *prompts = (prompt_list){0};
}
