/* What goes wrong, in a sentence on standard error. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_COMPLAIN_H
#define PARA_CLI_COMPLAIN_H

/* Place of this process among those that mpirun started; 0 without. */
int process_number(void);

/* "para generate: sentence". Once: of several processes with the same error, the first says it. */
void complain(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
