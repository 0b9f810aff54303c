/* Command-line options from a table: parsing, help, messages. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_OPTIONS_H
#define PARA_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

typedef enum option_type { OPTION_FLAG, OPTION_TEXT, OPTION_INT, OPTION_UINT64, OPTION_FLOAT, OPTION_NUMBERS, OPTION_CHOICE, OPTION_DEVICE, OPTION_AUTO, OPTION_BYTES } option_type;

/* A list of numbers: "1,0.5,0.25". */
typedef struct number_list {
    double *value;
    int count;
} number_list;

/* A number, or "auto". */
typedef struct auto_number {
    float value; /* 0 with "auto" */
    bool automatic;
} auto_number;

enum { MAX_GPUS = 64 };

/* What to compute on: "cpu", "cuda", "cuda:1" or "cuda:0,1". */
typedef struct device_choice {
    bool gpu;
    int count, index[MAX_GPUS]; /* of GPUs that were named */
    const char *text;           /* as it was given; NULL: not at all */
} device_choice;

typedef struct option {
    const char *name; /* "--steps"; "-o" for a short one; NULL ends the table */
    option_type type;
    void *value;               /* bool, const char *, int, uint64_t, float, number_list, device_choice, auto_number, int64_t (bytes); OPTION_CHOICE: int, the index */
    const char *argument;      /* "N" in the help; OPTION_CHOICE: NULL-terminated names follow in choices */
    const char *const *choices;
    const char *help;          /* one line; with the default */
} option;

typedef struct command {
    const char *name;    /* "generate" */
    const char *operand; /* "MODEL", or NULL */
    bool operand_required;
    const char *summary;  /* one line */
    const char *details;  /* paragraphs after the options, with examples that run */
    const option *options;
} command;

/* Reads argv[0..argc) after the command's name. Returns EXIT_DONE to go on, or EXIT_USAGE after a sentence on standard error.
 * *help is set where --help was asked for and printed. *operand is NULL where there is none. */
int parse_options(const command *c, int argc, char **argv, const char **operand, bool *help);

#endif
