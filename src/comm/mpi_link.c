/* The library's side of what joins processes, MPI's module or TCP: loads it, lets one thread in at a time, puts failures into words. SPDX-License-Identifier: Apache-2.0 */
#include "comm/mpi_link.h"

#include <paraattn/world.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/launch_variables.h"
#include "comm/mpi/mpi_module.h"
#include "comm/tcp/tcp_state.h"
#include "core/alloc.h"
#include "core/errand.h"
#include "core/error.h"
#include "core/module.h"

#define MPI_NEEDS "Open MPI (Debian: libopenmpi-dev to build, openmpi-bin to run)"

_Static_assert((int)PARA_MPI_CONTROL_MAX == (int)PARA_MPI_MESSAGE_MAX, "the longest control message");

struct para_mpi {
    const para_mpi_module *module;
    para_mpi_state *state;
    double timeout;
    int process, processes;
    atomic_bool given_up;
    char version[PARA_MPI_TEXT_MAX];
};

/* MPI is one per process, so is its lock. Threads have it in the order in which they came: ranks that move data ask again and again, and the watch, which tells
 * others that this process lives, must not wait for them all. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t next;
    uint64_t came, served;
} turn = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void take_turn(void) {
    pthread_mutex_lock(&turn.lock);
    uint64_t own = turn.came++;
    while (turn.served != own) pthread_cond_wait(&turn.next, &turn.lock);
    pthread_mutex_unlock(&turn.lock);
}

static void end_turn(void) {
    pthread_mutex_lock(&turn.lock);
    turn.served++;
    pthread_cond_broadcast(&turn.next);
    pthread_mutex_unlock(&turn.lock);
}

static atomic_flag taken = ATOMIC_FLAG_INIT; /* there is an open para_mpi, or one that never came back */

bool para_started_by_mpi(void) {
    static const char *const name[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE", "PMI_RANK"};
    if (para_started_by_launcher()) return false; /* srun sets PMI's for all programs */
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (getenv(name[i])) return true;
    return false;
}

/* One call into the module. */
#define IN_TURN(result, call)                                                                                          \
    do {                                                                                                               \
        take_turn();                                                                                     \
        (result) = (call);                                                                                             \
        end_turn();                                                                                   \
    } while (0)

static para_status failed(const para_mpi_module *module, int result, const char *doing) {
    switch (result) {
    case PARA_MPI_NO_MEMORY: return PARA_ERR_MEMORY; /* the allocation said so */
    case PARA_MPI_WAS_FINALIZED:
        return para_fail(
            PARA_ERR_LIBRARY,
            "MPI was finalised in this process and cannot start again; keep one world with MPI open to the end");
    case PARA_MPI_THREAD_LEVEL:
        return para_fail(
            PARA_ERR_LIBRARY,
            "MPI was initialised for a single thread; initialise it with MPI_Init_thread and MPI_THREAD_SERIALIZED");
    default: break;
    }
    char text[PARA_MPI_TEXT_MAX];
    take_turn();
    module->error_text(result, text);
    end_turn();
    if (result == PARA_MPI_ABSENT) return para_fail(PARA_ERR_LOST, "%s", text);
    if (result == PARA_MPI_REFUSED) return para_fail(PARA_ERR_ARGUMENT, "%s", text);
    if (module == &para_tcp_table) return para_fail(PARA_ERR_LIBRARY, "failed to %s: %s", doing, text);
    return para_fail(PARA_ERR_LIBRARY, "MPI failed to %s: %s; what mpirun printed may say more", doing, text);
}

static para_status checked(const para_mpi *m, int result, const char *doing) {
    return result == PARA_MPI_DONE ? PARA_OK : failed(m->module, result, doing);
}

static para_status load_mpi(const para_mpi_module **out) {
    void *function = NULL;
    PARA_TRY(para_module_load("paraattn-mpi.so", PARA_MPI_TABLE_NAME, MPI_NEEDS, &function));
    para_mpi_table_function table;
    memcpy(&table, &function, sizeof table);
    const para_mpi_module *module = table();
    if (module->abi != PARA_MPI_ABI || module->size != sizeof *module)
        return para_fail(
            PARA_ERR_LIBRARY,
            "the module paraattn-mpi.so is of another version of this library; install both from one build");
    *out = module;
    return PARA_OK;
}

/* Whose start it was says what joins the processes; variables that do not fit together are found before anything is opened. */
static para_status load(const para_mpi_module **out) {
    if (!para_started_by_launcher()) return load_mpi(out);
    para_launch launch;
    *out = &para_tcp_table;
    return para_launch_read(&launch);
}

const char *para_mpi_info(void) {
    static char text[PARA_MPI_TEXT_MAX];
    const para_mpi_module *module = NULL;
    if (load_mpi(&module) != PARA_OK) return NULL;
    take_turn();
    module->version(text);
    end_turn();
    return text;
}

typedef struct opening {
    const para_mpi_module *module;
    para_mpi_state *state;
    double timeout;
    int result;
} opening;

static void open_module(void *argument) {
    opening *o = argument;
    const para_mpi_host host = {para_alloc, para_free, o->timeout};
    IN_TURN(o->result, o->module->open(&host, &o->state));
}

/* MPI_Init waits for all processes: for one that was stopped, without end. */
static para_status start(para_mpi *m) {
    opening *o = para_alloc(1, sizeof *o);
    if (!o) return PARA_ERR_MEMORY;
    o->module = m->module;
    o->timeout = m->timeout;
    bool returned = true;
    para_status status = PARA_OK;
    if (m->module == &para_tcp_table) open_module(o); /* ends by itself */
    else status = para_errand(open_module, o, m->timeout, &returned);
    if (status == PARA_OK && !returned)
        return para_fail(PARA_ERR_LOST,
                         "MPI did not start within %g seconds: a process of this run is missing or stopped; what "
                         "mpirun printed may say more",
                         m->timeout);
    if (status == PARA_OK && o->result == PARA_MPI_NO_MEMORY) {
        status = para_fail(PARA_ERR_MEMORY, "out of memory while MPI was started");
    } else if (status == PARA_OK && o->result != PARA_MPI_DONE) {
        status = failed(m->module, o->result, "start");
    }
    m->state = o->state;
    para_free(o);
    return status;
}

para_status para_mpi_open(para_mpi **out, double timeout) {
    *out = NULL;
    if (atomic_flag_test_and_set(&taken))
        return para_fail(PARA_ERR_STATE,
                         "this process has a world with MPI already; close it before another is opened");
    para_mpi *m = para_alloc(1, sizeof *m);
    para_status status = m ? load(&m->module) : PARA_ERR_MEMORY;
    if (status == PARA_OK) {
        m->timeout = timeout;
        status = start(m);
    }
    if (status != PARA_OK) {
        bool away = status == PARA_ERR_LOST && m->module != &para_tcp_table; /* MPI still starts */
        para_free(m);
        if (!away) atomic_flag_clear(&taken);
        return status;
    }
    take_turn();
    m->process = m->module->process(m->state);
    m->processes = m->module->processes(m->state);
    m->module->version(m->version);
    end_turn();
    *out = m;
    return PARA_OK;
}

typedef struct closing {
    const para_mpi_module *module;
    para_mpi_state *state;
    bool all_there;
} closing;

static void close_module(void *argument) {
    closing *c = argument;
    take_turn();
    c->module->close(c->state, c->all_there);
    end_turn();
}

void para_mpi_close(para_mpi **m, bool all_there) {
    if (!*m) return;
    bool returned = true;
    closing here = {(*m)->module, (*m)->state, false};
    closing *c = all_there ? para_alloc(1, sizeof *c) : NULL;
    if (c) {
        *c = here;
        c->all_there = true;
        /* MPI_Finalize waits for all processes, too. */
        if (para_errand(close_module, c, (*m)->timeout, &returned) != PARA_OK) close_module(&here);
        if (returned) para_free(c);
    } else {
        close_module(&here);
    }
    para_free(*m);
    *m = NULL;
    if (returned) atomic_flag_clear(&taken);
}

int para_mpi_process(const para_mpi *m) {
    return m->process;
}

int para_mpi_processes(const para_mpi *m) {
    return m->processes;
}

const char *para_mpi_version(const para_mpi *m) {
    return m->version;
}

void para_mpi_give_up(para_mpi *m) {
    atomic_store(&m->given_up, true);
}

static para_status lost(void) {
    return para_fail(PARA_ERR_LOST, "a process of this run was lost while the others waited for it");
}

/* Between two looks: soon at first, then as often as does not take the cores from who computes. */
static void breathe(int look) {
    if (look < 100) {
        sched_yield();
    } else {
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
}

para_status para_mpi_send(para_mpi *m, int process, int tag, const para_tensor *t, para_mpi_request **request) {
    int result;
    IN_TURN(result, m->module->send(m->state, process, tag, t, para_dtype_size(t->dtype), request));
    return checked(m, result, "send to another process");
}

para_status para_mpi_receive(para_mpi *m, int process, int tag, const para_tensor *t, para_mpi_request **request) {
    int result;
    IN_TURN(result, m->module->receive(m->state, process, tag, t, para_dtype_size(t->dtype), request));
    return checked(m, result, "receive from another process");
}

para_status para_mpi_test(para_mpi *m, para_mpi_request **request, bool *done) {
    int result;
    IN_TURN(result, m->module->test(m->state, request, done));
    return checked(m, result, "exchange data with another process");
}

void para_mpi_abandon(para_mpi *m, para_mpi_request **request) {
    if (!*request) return;
    take_turn();
    m->module->abandon(m->state, request);
    end_turn();
}

para_status para_mpi_renew(para_mpi *m) {
    bool done = false;
    for (int look = 0; !done; look++) {
        if (atomic_load(&m->given_up)) return lost();
        int result;
        IN_TURN(result, m->module->renew(m->state, &done));
        PARA_TRY(checked(m, result, "renew its communicator"));
        if (!done) breathe(look);
    }
    return PARA_OK;
}

para_status para_mpi_control_send(para_mpi *m, int process, const void *bytes, int n) {
    int result;
    IN_TURN(result, m->module->control_send(m->state, process, bytes, n));
    return checked(m, result, "send a message to another process");
}

para_status para_mpi_control_poll(para_mpi *m, int *process, void *bytes, int *n, bool *came) {
    int result;
    IN_TURN(result, m->module->control_poll(m->state, process, bytes, n, came));
    return checked(m, result, "look for messages");
}
