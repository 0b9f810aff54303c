/* Meshes over several hosts. SPDX-License-Identifier: Apache-2.0 */
#include "parallel/mesh_hosts.h"

#include <stdarg.h>
#include <stdio.h>

/* A rank's group on an axis: the first rank of it. */
static int first_of(para_mesh m, para_axis axis, int index) {
    int tokens = m.ring * m.ulysses, u = index % m.ulysses;
    switch (axis) {
    case PARA_AXIS_BATCH: return index % tokens;
    case PARA_AXIS_RING: return index / tokens * tokens + u;
    case PARA_AXIS_ULYSSES: return index - u;
    case PARA_AXIS_TOKENS: break;
    }
    return index / tokens * tokens;
}

bool para_mesh_axis_in_hosts(para_mesh m, para_axis axis, const int *host) {
    for (int i = 0; host && i < para_mesh_ranks(&m); i++)
        if (host[i] != host[first_of(m, axis, i)]) return false;
    return true;
}

/* ---- in words */

typedef struct writer {
    char *text;
    size_t bytes, n;
} writer;

static void say(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(writer *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = w->n < w->bytes ? vsnprintf(w->text + w->n, w->bytes - w->n, format, args) : 0;
    va_end(args);
    if (length > 0) w->n += (size_t)length;
}

static int ranks_on(const para_mesh_needs *n, int host) {
    int count = 0;
    for (int i = 0; i < n->ranks; i++) count += n->host[i] == host;
    return count;
}

/* "2 hosts of 8 ranks", "2 hosts of 3 and 5 ranks", "9 hosts of 3 to 8 ranks". Returns false where hosts have more than one rank,
 * and yet no groups of more than one, all of one size, fill them. */
static bool say_hosts(writer *w, const para_mesh_needs *n) {
    int hosts = n->host[n->ranks - 1] + 1, least = n->ranks, most = 0, divisor = 0;
    for (int h = 0; h < hosts; h++) {
        int here = ranks_on(n, h);
        least = here < least ? here : least;
        most = here > most ? here : most;
        for (int a = here, rest; a; divisor = a, a = rest) rest = divisor % a; /* Euclid's */
    }
    say(w, "%d hosts of ", hosts);
    if (least == most) {
        say(w, "%d", most);
    } else if (hosts > 4) {
        say(w, "%d to %d", least, most);
    } else {
        for (int h = 0; h < hosts; h++) say(w, "%s%d", h == 0 ? "" : h + 1 < hosts ? ", " : " and ", ranks_on(n, h));
    }
    say(w, most == 1 ? " rank" : " ranks");
    return divisor > 1 || most == 1;
}

void para_mesh_explain(char *text, size_t bytes, para_mesh m, para_mesh wish, const para_mesh_needs *n) {
    writer w = {text, bytes, 0};
    if (bytes) *text = '\0';
    if (!n->host || n->host[n->ranks - 1] == 0) return;
    int given = (wish.batch > 0) + (wish.ring > 0) + (wish.ulysses > 0);
    bool fill = say_hosts(&w, n);
    bool ring = para_mesh_axis_in_hosts(m, PARA_AXIS_RING, n->host),
         ulysses = para_mesh_axis_in_hosts(m, PARA_AXIS_ULYSSES, n->host);
    say(&w, ", %s batch %d x ring %d x ulysses %d: ", given < 2 ? "hence" : "and as given", m.batch, m.ring, m.ulysses);
    if (!ulysses) {
        say(&w, "ranks of several hosts exchange tokens for heads before and after each attention; %s",
            wish.ulysses ? "without --ulysses none would" : "--batch and --ring leave no other mesh");
        return;
    }
    if (m.ulysses > 1) say(&w, "tokens are exchanged for heads within a host; ");
    else if (!fill && n->heads > 1 && !wish.ulysses) say(&w, "ulysses groups of one size do not fill the hosts; ");
    if (!ring) say(&w, "between hosts keys and values go round while ranks compute");
    else say(&w, "between hosts go predictions only");
}
