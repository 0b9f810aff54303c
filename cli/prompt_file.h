/* Prompts from a file. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_PROMPT_FILE_H
#define PARA_CLI_PROMPT_FILE_H

#include <stdbool.h>

typedef struct prompt_list {
    char **text;
    int count;
    char *bytes; /* that they lie in */
} prompt_list;

/* One prompt a line; empty lines and those that begin with # do not count. False after a sentence in the name of the command. */
bool prompt_file_read(prompt_list *out, const char *path, const char *command);
void prompt_list_free(prompt_list *prompts);

#endif
