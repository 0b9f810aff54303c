/* Command-line options from a table. SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"

static void print_option(const option *o) {
    char left[64] = "", choices[48] = "";
    if (o->type == OPTION_CHOICE) {
        for (int i = 0; o->choices[i]; i++)
            snprintf(choices + strlen(choices), sizeof choices - strlen(choices), "%s%s", i ? "|" : "", o->choices[i]);
    }
    const char *argument = o->type == OPTION_CHOICE ? choices : o->argument;
    snprintf(left, sizeof left, "%s%s%s", o->name, argument ? " " : "", argument ? argument : "");
    printf(strlen(left) < 27 ? "  %-27s %s\n" : "  %s\n                              %s\n", left, o->help);
}

static void print_help(const command *c) {
    printf("Usage: para %s", c->name);
    if (c->operand) printf(c->operand_required ? " %s" : " [%s]", c->operand);
    printf(" [OPTION]...\n%s\n", c->summary);
    if (c->options->name) printf("\nOptions:\n");
    for (const option *o = c->options; o->name; o++) print_option(o);
    printf("%s", c->details);
}

static bool parse_numbers(const char *text, number_list *out) {
    int room = 1;
    for (const char *p = text; *p; p++) room += *p == ',';
    free(out->value);
    out->count = 0;
    out->value = calloc((size_t)room, sizeof *out->value);
    if (!out->value) return false;
    for (const char *p = text; out->count < room;) {
        char *end;
        out->value[out->count++] = strtod(p, &end);
        if (end == p || (*end != ',' && *end != '\0')) return false;
        if (*end == '\0') return true;
        p = end + 1;
    }
    return false;
}

static bool parse_auto(const char *text, auto_number *out) {
    char *end;
    *out = (auto_number){.automatic = strcmp(text, "auto") == 0};
    if (out->automatic) return true;
    out->value = strtof(text, &end);
    return end != text && !*end;
}

static bool parse_device(const char *text, device_choice *out) {
    *out = (device_choice){.gpu = strncmp(text, "cuda", 4) == 0, .text = text};
    if (!out->gpu) return strcmp(text, "cpu") == 0;
    if (text[4] == '\0') return true;
    if (text[4] != ':') return false;
    for (const char *p = text + 5; out->count < MAX_GPUS;) {
        char *end;
        errno = 0;
        long index = strtol(p, &end, 10);
        if (*p < '0' || *p > '9' || (*end && *end != ',') || errno || index > INT_MAX) return false;
        out->index[out->count++] = (int)index;
        if (!*end) return true;
        p = end + 1;
    }
    return false;
}

/* "24G", "1.5g", "500M": powers of 1024. */
static bool parse_bytes(const char *text, int64_t *out) {
    static const char suffixes[] = "kmgt";
    char *end;
    double value = strtod(text, &end);
    if (end == text || !(value > 0)) return false;
    if (*end) {
        const char *suffix = strchr(suffixes, *end | 0x20);
        if (!suffix || end[1]) return false;
        value = ldexp(value, 10 * (int)(suffix - suffixes + 1));
    }
    if (!(value >= 1 && value < 0x1p62)) return false;
    *out = (int64_t)value;
    return true;
}

/* "f32 or bf16" */
static const char *choices_text(const option *o) {
    static char text[96];
    text[0] = '\0';
    for (int i = 0; o->choices[i]; i++) {
        const char *join = i == 0 ? "" : o->choices[i + 1] ? ", " : " or ";
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", join, o->choices[i]);
    }
    return text;
}

/* What kind of argument was wanted, or NULL when `text` is one and was stored. */
static const char *store(const option *o, const char *text) {
    char *end;
    errno = 0;
    switch (o->type) {
    case OPTION_FLAG: break;
    case OPTION_TEXT: *(const char **)o->value = text; return NULL;
    case OPTION_INT: {
        long v = strtol(text, &end, 10);
        if (end == text || *end || errno || v < INT_MIN || v > INT_MAX) return "a whole number";
        *(int *)o->value = (int)v;
        return NULL;
    }
    case OPTION_UINT64: {
        uint64_t v = strtoull(text, &end, 10);
        if (end == text || *end || errno || strchr(text, '-')) return "a whole number of 0 to 18446744073709551615";
        *(uint64_t *)o->value = v;
        return NULL;
    }
    case OPTION_FLOAT: {
        float v = strtof(text, &end);
        if (end == text || *end) return "a number";
        *(float *)o->value = v;
        return NULL;
    }
    case OPTION_NUMBERS: return parse_numbers(text, o->value) ? NULL : "numbers separated by commas";
    case OPTION_CHOICE:
        for (int i = 0; o->choices[i]; i++) {
            if (strcmp(text, o->choices[i]) == 0) {
                *(int *)o->value = i;
                return NULL;
            }
        }
        return choices_text(o);
    case OPTION_BYTES: return parse_bytes(text, o->value) ? NULL : "a size such as 24G, 1.5G or 500M";
    case OPTION_DEVICE: return parse_device(text, o->value) ? NULL : "cpu, cuda, cuda:N or cuda:N,M";
    case OPTION_AUTO: return parse_auto(text, o->value) ? NULL : "a number, or auto";
    }
    return "no argument";
}

static const option *find(const command *c, const char *name, size_t length) {
    for (const option *o = c->options; o->name; o++)
        if (strlen(o->name) == length && strncmp(o->name, name, length) == 0) return o;
    return NULL;
}

int parse_options(const command *c, int argc, char **argv, const char **operand, bool *help) {
    *operand = NULL;
    *help = false;
    bool only_operands = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (!only_operands && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(c);
            *help = true;
            return EXIT_DONE;
        }
        if (only_operands || word[0] != '-' || word[1] == '\0') {
            if (!c->operand || *operand) {
                complain(c->name, "'%s' is one word too many; see para %s --help", word, c->name);
                return EXIT_USAGE;
            }
            *operand = word;
            continue;
        }
        const char *equals = word[1] == '-' ? strchr(word, '=') : NULL;
        const option *o = find(c, word, equals ? (size_t)(equals - word) : strlen(word));
        if (!o) {
            complain(c->name, "there is no option '%s'; see para %s --help", word, c->name);
            return EXIT_USAGE;
        }
        if (o->type == OPTION_FLAG && !equals) {
            *(bool *)o->value = true;
            continue;
        }
        const char *text = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!text) {
            complain(c->name, "%s needs an argument (%s)", o->name, o->argument ? o->argument : "see --help");
            return EXIT_USAGE;
        }
        const char *wanted = store(o, text);
        if (wanted) {
            complain(c->name, "%s '%s': give %s", o->name, text, wanted);
            return EXIT_USAGE;
        }
    }
    if (c->operand_required && !*operand) {
        complain(c->name, "which model? Give the folder of a diffusers checkpoint, such as models/tiny-flux");
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}
