/* The MPI link between the processes that mpirun starts. Every case is collective. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <paraattn/world.h>

#include "comm/mpi_link.h"
#include "core/clock.h"

enum { MAX_PROCESSES = 8, PATIENCE_S = 60 };

static para_mpi *mpi;
static int me, all;

static void ok(para_status status) {
    if (status != PARA_OK) fail_msg("process %d: %s: %s", me, para_status_name(status), para_last_error());
}

static void finish(para_mpi_request **request) {
    double start = para_seconds();
    for (bool done = false; !done;) {
        ok(para_mpi_test(mpi, request, &done));
        if (para_seconds() - start > PATIENCE_S) fail_msg("process %d waits in vain", me);
    }
    assert_null(*request);
}

/* All processes are here: everyone hears from everyone. */
static void meet(void) {
    enum { TAG = 1000 };
    char here = 1, there[MAX_PROCESSES];
    para_mpi_request *sent[MAX_PROCESSES], *received[MAX_PROCESSES];
    for (int p = 0; p < all; p++) {
        para_tensor out = para_tensor_make(&here, PARA_U8, 0, NULL), in = para_tensor_make(&there[p], PARA_U8, 0, NULL);
        ok(para_mpi_receive(mpi, p, TAG, &in, &received[p]));
        ok(para_mpi_send(mpi, p, TAG, &out, &sent[p]));
    }
    for (int p = 0; p < all; p++) {
        finish(&sent[p]);
        finish(&received[p]);
    }
}

static void opened(void **state) {
    (void)state;
    assert_true(para_started_by_mpi() != para_started_by_launcher());
    assert_in_range(all, 2, MAX_PROCESSES);
    assert_in_range(me, 0, all - 1);
    assert_non_null(strstr(para_mpi_version(mpi), para_started_by_mpi() ? "MPI" : "TCP"));
    para_mpi *second;
    assert_int_equal(para_mpi_open(&second, 10), PARA_ERR_STATE);
    assert_null(second);
    para_mpi_close(&second, true);
}

/* ---- Tensors of any strides. Both sides draw the same sizes, each its own strides. */

static unsigned long long shared_seed, own_seed;

static int draw(unsigned long long *seed, int low, int high) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return low + (int)((*seed >> 33) % (unsigned)(high - low + 1));
}

/* Room for a view of these sizes with strides in any order, gaps, and one that may run backwards. */
static para_tensor any_view(para_dtype dtype, int rank, const int64_t *dim, void **room, size_t *bytes) {
    para_tensor t = {dtype, rank, {0}, {0}, NULL};
    int order[PARA_MAX_DIMS] = {0, 1, 2, 3, 4, 5};
    for (int i = rank - 1; i > 0; i--) {
        int j = draw(&own_seed, 0, i), keep = order[i];
        order[i] = order[j];
        order[j] = keep;
    }
    int64_t next = 1, first = 0;
    for (int i = 0; i < rank; i++) {
        int d = order[i];
        t.dim[d] = dim[d];
        t.stride[d] = next;
        next = next * dim[d] + draw(&own_seed, 0, 2);
        if (draw(&own_seed, 0, 3) == 0) {
            first += (dim[d] - 1) * t.stride[d];
            t.stride[d] = -t.stride[d];
        }
    }
    size_t element = para_dtype_size(dtype);
    *bytes = (size_t)next * element;
    *room = malloc(*bytes);
    assert_non_null(*room);
    memset(*room, 0xee, *bytes);
    t.data = (char *)*room + (size_t)first * element;
    return t;
}

static unsigned char *at(const para_tensor *t, int64_t index) {
    int64_t place = 0;
    for (int d = t->rank - 1; d >= 0; d--) {
        place += index % t->dim[d] * t->stride[d];
        index /= t->dim[d];
    }
    return (unsigned char *)t->data + place * (int64_t)para_dtype_size(t->dtype);
}

/* What process `from` sends to `to` at an index of a case. */
static unsigned char byte_of(int from, int to, int which, int64_t index, size_t byte) {
    return (unsigned char)(31 * from + 7 * to + 3 * which + 11 * (int)index + 101 * (int)byte);
}

static void fill(const para_tensor *t, int to, int which) {
    size_t element = para_dtype_size(t->dtype);
    for (int64_t i = 0; i < para_tensor_count(t); i++)
        for (size_t b = 0; b < element; b++) at(t, i)[b] = byte_of(me, to, which, i, b);
}

/* All elements are those that `from` sent, and nothing beside them was written. */
static void check(const para_tensor *t, int from, int which, unsigned char *room, size_t bytes) {
    size_t element = para_dtype_size(t->dtype);
    for (int64_t i = 0; i < para_tensor_count(t); i++)
        for (size_t b = 0; b < element; b++) {
            if (at(t, i)[b] != byte_of(from, me, which, i, b))
                fail_msg("element %lld of case %d from %d is wrong", (long long)i, which, from);
            at(t, i)[b] = 0xee;
        }
    for (size_t i = 0; i < bytes; i++)
        if (room[i] != 0xee) fail_msg("byte %zu of case %d beside the tensor was written", i, which);
}

static void exchange(int which, para_dtype dtype, int rank, const int64_t *dim) {
    para_tensor out[MAX_PROCESSES], in[MAX_PROCESSES];
    void *out_room[MAX_PROCESSES], *in_room[MAX_PROCESSES];
    size_t bytes, in_bytes[MAX_PROCESSES];
    para_mpi_request *sent[MAX_PROCESSES] = {NULL}, *received[MAX_PROCESSES] = {NULL};
    for (int p = 0; p < all; p++) {
        if (p == me) continue;
        out[p] = any_view(dtype, rank, dim, &out_room[p], &bytes);
        in[p] = any_view(dtype, rank, dim, &in_room[p], &in_bytes[p]);
        fill(&out[p], p, which);
        ok(para_mpi_receive(mpi, p, 5, &in[p], &received[p]));
        ok(para_mpi_send(mpi, p, 5, &out[p], &sent[p]));
    }
    for (int p = 0; p < all; p++) {
        if (p == me) continue;
        finish(&sent[p]);
        finish(&received[p]);
        check(&in[p], p, which, in_room[p], in_bytes[p]);
        free(out_room[p]);
        free(in_room[p]);
    }
}

static void any_strides(void **state) {
    (void)state;
    static const para_dtype types[] = {PARA_F32, PARA_BF16, PARA_U8, PARA_I64};
    shared_seed = 5;
    own_seed = 100 + (unsigned)me;
    for (int which = 0; which < 120; which++) {
        int64_t dim[PARA_MAX_DIMS];
        int rank = draw(&shared_seed, 0, PARA_MAX_DIMS);
        for (int d = 0; d < rank; d++) dim[d] = draw(&shared_seed, 1, 6);
        if (rank > 0 && which % 10 == 0) dim[0] = 3000; /* more than MPI sends at once */
        exchange(which, types[draw(&shared_seed, 0, 3)], rank, dim);
    }
}

static void broadcast_source(void **state) {
    (void)state;
    int value = 7 + me, other = (me + all - 1) % all, got[6] = {0};
    para_tensor out = {PARA_I32, 2, {2, 3}, {0, 0}, &value}, in = para_tensor_make(got, PARA_I32, 2, (int64_t[]){2, 3});
    para_mpi_request *sent, *received;
    ok(para_mpi_receive(mpi, other, 0, &in, &received));
    ok(para_mpi_send(mpi, (me + 1) % all, 0, &out, &sent));
    finish(&sent);
    finish(&received);
    for (int i = 0; i < 6; i++) assert_int_equal(got[i], 7 + other);
}

/* Same tag, small and large in turn: they arrive as they were sent. */
static void keep_their_order(void **state) {
    (void)state;
    enum { MESSAGES = 40, LONGEST = 60000 };
    static int out[MESSAGES][LONGEST], in[MESSAGES][LONGEST];
    para_mpi_request *sent[MESSAGES], *received[MESSAGES];
    int next = (me + 1) % all, previous = (me + all - 1) % all;
    for (int i = 0; i < MESSAGES; i++) {
        int64_t n = i % 3 == 1 ? LONGEST : 1 + i % 5;
        for (int64_t j = 0; j < n; j++) out[i][j] = 100000 * i + (int)j + me;
        para_tensor t = para_tensor_make(out[i], PARA_I32, 1, &n);
        ok(para_mpi_send(mpi, next, 9, &t, &sent[i]));
    }
    for (int i = 0; i < MESSAGES; i++) {
        para_tensor t = para_tensor_make(in[i], PARA_I32, 1, (int64_t[]){i % 3 == 1 ? LONGEST : 1 + i % 5});
        ok(para_mpi_receive(mpi, previous, 9, &t, &received[i]));
    }
    for (int i = MESSAGES - 1; i >= 0; i--) {
        finish(&received[i]);
        finish(&sent[i]);
    }
    for (int i = 0; i < MESSAGES; i++) {
        int64_t n = i % 3 == 1 ? LONGEST : 1 + i % 5;
        for (int64_t j = 0; j < n; j++) assert_int_equal(in[i][j], 100000 * i + (int)j + previous);
    }
}

static void too_long(void **state) {
    (void)state;
    int out[4] = {0}, in[4];
    para_tensor t = para_tensor_make(out, PARA_I32, 1, (int64_t[]){4}),
                shorter = para_tensor_make(in, PARA_I32, 1, (int64_t[]){2});
    para_mpi_request *sent, *received;
    ok(para_mpi_receive(mpi, (me + all - 1) % all, 0, &shorter, &received));
    ok(para_mpi_send(mpi, (me + 1) % all, 0, &t, &sent));
    finish(&sent);
    para_status status = PARA_OK;
    for (bool done = false; !done && status == PARA_OK;) status = para_mpi_test(mpi, &received, &done);
    assert_int_equal(status, PARA_ERR_LIBRARY);
    assert_null(received);
    if (!strstr(para_last_error(), "truncate")) fail_msg("it says: %s", para_last_error());
    meet();
    status = para_mpi_send(mpi, all, 0, &t, &sent); /* there is no such process */
    assert_int_equal(status, PARA_ERR_LIBRARY);
    assert_non_null(strstr(para_last_error(), "rank"));
}

/* ---- Control messages */

static void messages(void **state) {
    (void)state;
    enum { MESSAGES = 300 };
    unsigned char bytes[PARA_MPI_CONTROL_MAX];
    int come[MAX_PROCESSES] = {0}, missing = MESSAGES * (all - 1);
    double start = para_seconds();
    for (int i = 0; i < MESSAGES || missing > 0; i++) {
        for (int p = 0; p < all && i < MESSAGES; p++) {
            int n = i % 50 == 0 ? PARA_MPI_CONTROL_MAX : 1 + i;
            memset(bytes, i + 3 * me + p, sizeof bytes);
            if (p != me) ok(para_mpi_control_send(mpi, p, bytes, n));
        }
        int from, n;
        bool came;
        ok(para_mpi_control_poll(mpi, &from, bytes, &n, &came));
        if (para_seconds() - start > PATIENCE_S) fail_msg("%d messages are missing", missing);
        if (!came) continue;
        int number = come[from]++;
        assert_int_equal(n, number % 50 == 0 ? PARA_MPI_CONTROL_MAX : 1 + number);
        for (int b = 0; b < n; b++) assert_int_equal(bytes[b], (unsigned char)(number + 3 * from + me));
        missing--;
    }
}

/* ---- After a failure */

/* Large and small sends that nobody receives, receives that nobody answers, and one that is given up in the middle: then all is as new. */
static void renewed(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    static float lost[N], large[N], never[2], small[2];
    int next = (me + 1) % all, previous = (me + all - 1) % all;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) lost[i] = -1;
        para_tensor out = para_tensor_make(lost, PARA_F32, 1, (int64_t[]){N}),
                    in = para_tensor_make(large, PARA_F32, 1, (int64_t[]){N});
        para_tensor out2 = para_tensor_make(lost, PARA_F32, 1, (int64_t[]){2}),
                    in2 = para_tensor_make(never, PARA_F32, 1, (int64_t[]){2});
        para_mpi_request *r[5];
        bool done = false;
        ok(para_mpi_receive(mpi, previous, 3, &in, &r[0]));
        ok(para_mpi_receive(mpi, previous, 4, &in2, &r[1]));
        meet();
        ok(para_mpi_send(mpi, next, 3, &out, &r[2]));
        ok(para_mpi_send(mpi, next, 1, &out, &r[3]));
        ok(para_mpi_send(mpi, next, 2, &out2, &r[4]));
        for (int look = 0; look < 3 * round && !done; look++)
            ok(para_mpi_test(mpi, &r[0], &done)); /* the large one has begun */
        for (int i = 0; i < 5; i++) para_mpi_abandon(mpi, &r[i]);
        for (int i = 0; i < 5; i++) assert_null(r[i]);
        ok(para_mpi_renew(mpi));

        for (int i = 0; i < N; i++) lost[i] = large[i] = (float)(me + i % 1000);
        small[0] = small[1] = (float)me;
        out2.data = small;
        ok(para_mpi_send(mpi, next, 1, &out, &r[0]));
        ok(para_mpi_send(mpi, next, 2, &out2, &r[1]));
        ok(para_mpi_send(mpi, next, 3, &out, &r[2]));
        for (int tag = 3; tag >= 1; tag--) {
            ok(para_mpi_receive(mpi, previous, tag, tag == 2 ? &in2 : &in, &r[3]));
            finish(&r[3]);
            for (int i = 0; tag != 2 && i < N; i++) assert_true(large[i] == (float)(previous + i % 1000));
        }
        assert_true(never[0] == (float)previous && never[1] == (float)previous);
        for (int i = 0; i < 3; i++) finish(&r[i]);
    }
}

/* More bytes than an int counts. One piece of memory, mapped again and again, stands for many. */
static void more_than_2_gib(void **state) {
    (void)state;
    const size_t piece = (size_t)64 << 20, pieces = 34;
    int fd = memfd_create("test_mpi_link", 0);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)piece) == 0);
    char *room = mmap(NULL, piece * pieces, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(room != MAP_FAILED);
    for (size_t i = 0; i < pieces; i++)
        assert_true(mmap(room + i * piece, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    memset(room, me == 0 ? 7 : 0, piece);
    para_tensor flat = para_tensor_make(room, PARA_U8, 1, (int64_t[]){(int64_t)(piece * pieces)}), turned = flat;
    turned.rank = 2;
    turned.dim[0] = (int64_t)pieces;
    turned.dim[1] = (int64_t)piece;
    turned.stride[0] = (int64_t)piece;
    turned.stride[1] = 1;
    meet();
    if (me < 2) {
        para_mpi_request *r;
        ok(me == 0 ? para_mpi_send(mpi, 1, 0, &flat, &r) : para_mpi_receive(mpi, 0, 0, &turned, &r));
        finish(&r);
        for (size_t i = 0; i < piece; i++) assert_int_equal(room[i], 7);
    }
    meet();
    munmap(room, piece * pieces);
    close(fd);
}

/* Who has given up waits for nobody; the last case, since it stays so. */
static void given_up(void **state) {
    (void)state;
    meet();
    para_mpi_give_up(mpi);
    assert_int_equal(para_mpi_renew(mpi), PARA_ERR_LOST);
}

int main(void) {
    if (para_mpi_open(&mpi, 30) != PARA_OK) {
        fprintf(stderr, "%s\n", para_last_error());
        return 1;
    }
    me = para_mpi_process(mpi);
    all = para_mpi_processes(mpi);
    /* One process tells; of the others their failures, which go to standard error. */
    if (me != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest full[] = {cmocka_unit_test(more_than_2_gib)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opened),           cmocka_unit_test(any_strides), cmocka_unit_test(broadcast_source),
        cmocka_unit_test(keep_their_order), cmocka_unit_test(too_long),    cmocka_unit_test(messages),
        cmocka_unit_test(renewed),          cmocka_unit_test(given_up),
    };
    int failures = getenv("PARA_FULL") ? cmocka_run_group_tests(full, NULL, NULL) : 0; /* some seconds */
    failures += cmocka_run_group_tests(tests, NULL, NULL);
    para_mpi_close(&mpi, failures == 0);
    return failures != 0;
}
