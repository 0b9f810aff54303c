/* The sub-commands. Each reads the words after its name and returns the exit status. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_COMMANDS_H
#define PARA_CLI_COMMANDS_H

int command_bench(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_info(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_verify(int argc, char **argv);

#endif
