/* Processes joined by TCP: two connections for each pair, for control messages and for data. SPDX-License-Identifier: Apache-2.0
 *
 * A receive grants its sender the right to send, and the data lands where it belongs: nothing is kept for later, and both sides must be there. The k-th
 * send of a tag goes to the k-th receive. */
#ifndef PARA_COMM_TCP_STATE_H
#define PARA_COMM_TCP_STATE_H

#include "comm/launch_variables.h"
#include "comm/mpi/mpi_module.h"

enum { PARA_TCP_TRUNCATED = 1, PARA_TCP_NO_RANK = 2, PARA_TCP_SYSTEM = 3 }; /* results above 0 */
enum { PARA_TCP_STAGE = 1 << 18 };

typedef enum tcp_frame_kind { TCP_GRANT = 1, TCP_DATA, TCP_RENEWED } tcp_frame_kind;

/* On a data connection; the bytes of TCP_DATA follow. */
typedef struct tcp_frame {
    int32_t kind, tag;
    int64_t number; /* of the transfer, among those of its tag in its direction */
    int64_t bytes;
} tcp_frame;

struct para_mpi_request {
    struct para_mpi_request *next; /* in its list */
    bool receives;
    bool done, moving;             /* its bytes are being written or read */
    bool abandoned;                /* nobody asks for it any more: what moves it frees it */
    int result;
    tcp_frame frame;
    para_tensor tensor;
    int64_t element;
};

/* Transfers of a tag that were started in each direction. */
typedef struct tcp_tag {
    struct tcp_tag *next;
    int tag;
    int64_t sent, received;
} tcp_tag;

/* A frame on its way out. */
typedef struct tcp_outgoing {
    struct tcp_outgoing *next;
    tcp_frame frame;
    para_mpi_request *request; /* whose bytes follow; or NULL */
} tcp_outgoing;

/* A grant for a send that has not started yet. */
typedef struct tcp_early {
    struct tcp_early *next;
    tcp_frame frame;
} tcp_early;

/* A control message on its way out: its length, then its bytes. */
typedef struct tcp_message {
    struct tcp_message *next;
    int32_t size, written; /* of all that follows */
    char bytes[];
} tcp_message;

/* What has moved of the frame that is being written, or read. */
typedef struct tcp_progress {
    int64_t head;       /* bytes of the frame itself */
    int64_t moved;      /* bytes behind it that are where they belong, or have left */
    int64_t staged, at; /* bytes in `stage`; written of them */
    char *stage;        /* [PARA_TCP_STAGE]: for tensors that are not contiguous */
} tcp_progress;

typedef struct tcp_peer {
    int control, in, out; /* sockets, -1: none; in and out are one, but to the process itself */
    bool silent, cut;     /* nothing can be written to it any more, of messages; its data connection has ended */
    bool gone, told;      /* its messages have ended without a farewell; that was reported */
    bool left;            /* it has said farewell */
    tcp_message *messages;
    int got;              /* bytes of the message that is being read, its length included */
    union {
        int32_t length;
        char bytes[sizeof(int32_t) + PARA_MPI_MESSAGE_MAX];
    } message;
    tcp_tag *tags;
    para_mpi_request *sends, *receives; /* sends without a grant; receives whose data has not come */
    tcp_early *early;
    tcp_outgoing *outgoing;             /* oldest first */
    tcp_progress writes, reads;
    tcp_frame frame;                    /* that is being read */
    para_mpi_request *reading;          /* where its bytes go; NULL: nowhere */
    int64_t renewals;                   /* how often it has said TCP_RENEWED */
} tcp_peer;

struct para_mpi_state {
    para_mpi_host host;
    int process, processes;
    tcp_peer *peer;    /* [processes] */
    int64_t renewals;  /* of this process */
    bool renews;       /* the current one is not over */
    int next;          /* whose messages are looked at first */
};

/* ---- tcp_join.c: connects all processes, within host->timeout seconds. */
int para_tcp_join(para_mpi_state *s, const para_launch *launch);
/* What went wrong, for error_text; printf format. Returns `result`. */
int para_tcp_says(int result, const char *format, ...) __attribute__((format(printf, 2, 3)));
extern char para_tcp_sentence[PARA_MPI_TEXT_MAX];

/* ---- tcp_sockets.c */
/* A socket that listens at the address (NULL: all of this host) and port (0: any); *port becomes its own. -1 with errno. */
int para_tcp_listen(const char *address, int *port, int waiting);
/* Until `deadline`: a connection to the address and port; one that comes in. -1: none. */
int para_tcp_connect(const char *address, int port, double deadline);
int para_tcp_accept(int listener, double deadline);
/* Whether all bytes went through, until `deadline`. */
bool para_tcp_write_all(int socket, const void *bytes, size_t n, double deadline);
bool para_tcp_read_all(int socket, void *bytes, size_t n, double deadline);
/* Moves what can move now; bytes, or -1 where the connection has ended. */
int64_t para_tcp_write_some(int socket, const void *bytes, int64_t n);
int64_t para_tcp_read_some(int socket, void *bytes, int64_t n);

/* ---- tcp_data.c */
int para_tcp_send(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request);
int para_tcp_receive(para_mpi_state *s, int process, int tag, const para_tensor *t, size_t element, para_mpi_request **request);
int para_tcp_test(para_mpi_state *s, para_mpi_request **request, bool *done);
void para_tcp_abandon(para_mpi_state *s, para_mpi_request **request);
int para_tcp_renew(para_mpi_state *s, bool *done);
void para_tcp_data_close(para_mpi_state *s, tcp_peer *p);

/* ---- tcp_stream.c: frames and their bytes through a data connection. */
void para_tcp_write_frames(para_mpi_state *s, tcp_peer *p);
void para_tcp_read_frames(para_mpi_state *s, tcp_peer *p);
/* A frame has come, before its bytes: who takes them, or NULL. And the request is done. (tcp_data.c) */
para_mpi_request *para_tcp_take_frame(para_mpi_state *s, tcp_peer *p, const tcp_frame *frame);
void para_tcp_finish(para_mpi_state *s, para_mpi_request *r);

/* ---- tcp_messages.c */
int para_tcp_control_send(para_mpi_state *s, int process, const void *bytes, int n); /* n 0: farewell */
int para_tcp_control_poll(para_mpi_state *s, int *process, void *bytes, int *n, bool *came);
void para_tcp_write_messages(para_mpi_state *s, tcp_peer *p);
void para_tcp_messages_close(para_mpi_state *s, tcp_peer *p);
/* Moves all that can move now. */
void para_tcp_progress(para_mpi_state *s);

/* ---- tcp_table.c */
extern const para_mpi_module para_tcp_table;

#endif
