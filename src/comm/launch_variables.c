/* What a launcher tells each process it starts. SPDX-License-Identifier: Apache-2.0 */
#include "comm/launch_variables.h"

#include <errno.h>
#include <paraattn/world.h>
#include <stdlib.h>

#include "core/error.h"

enum { MOST_PROCESSES = 1 << 16, MOST_PORTS = 65535 };

#define ALL_FOUR "a launcher sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT for every process"

bool para_started_by_launcher(void) {
    return !getenv("OMPI_COMM_WORLD_SIZE") && (getenv("RANK") || getenv("WORLD_SIZE"));
}

static para_status read_number(const char *name, long low, long high, int *out) {
    const char *text = getenv(name);
    if (!text || !*text) return para_fail(PARA_ERR_ARGUMENT, "%s is not set; " ALL_FOUR, name);
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (*end || errno || value < low || value > high)
        return para_fail(PARA_ERR_ARGUMENT, "%s is '%s'; it must be a number from %ld to %ld", name, text, low, high);
    *out = (int)value;
    return PARA_OK;
}

para_status para_launch_read(para_launch *out) {
    *out = (para_launch){0};
    PARA_TRY(read_number("WORLD_SIZE", 1, MOST_PROCESSES, &out->processes));
    PARA_TRY(read_number("RANK", 0, MOST_PROCESSES, &out->process));
    if (out->process >= out->processes)
        return para_fail(PARA_ERR_ARGUMENT, "RANK is %d and WORLD_SIZE %d; processes are numbered from 0 to WORLD_SIZE - 1", out->process,
                         out->processes);
    if (out->processes == 1) return PARA_OK;
    out->address = getenv("MASTER_ADDR");
    if (!out->address || !*out->address)
        return para_fail(PARA_ERR_ARGUMENT, "MASTER_ADDR is not set: the name or address of the host of process 0; " ALL_FOUR);
    PARA_TRY(read_number("MASTER_PORT", 1, MOST_PORTS, &out->port));
    /* torchrun itself answers at MASTER_PORT then. */
    const char *taken = getenv("TORCHELASTIC_USE_AGENT_STORE");
    if (taken && (*taken == 'T' || *taken == 't' || *taken == '1')) out->port += out->port < MOST_PORTS ? 1 : -1;
    return PARA_OK;
}

para_status para_launch_local(int *out) {
    static const char *const name[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"};
    *out = -1;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (getenv(name[i])) return read_number(name[i], 0, MOST_PROCESSES, out);
    return PARA_OK;
}
