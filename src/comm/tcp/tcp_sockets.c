/* Sockets, none of which waits by itself. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "comm/tcp/tcp_state.h"
#include "core/clock.h"

/* Milliseconds until then, at most a second: who waits looks again. */
static int until(double deadline) {
    double left = deadline - para_seconds();
    return left <= 0 ? 0 : left > 1 ? 1000 : 1 + (int)(left * 1000);
}

static bool wait_for(int socket, short what, double deadline) {
    struct pollfd p = {.fd = socket, .events = what};
    do {
        if (poll(&p, 1, until(deadline)) > 0) return true;
    } while (para_seconds() < deadline);
    return false;
}

static void no_delay(int socket) {
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static struct addrinfo *look_up(const char *address, int port, int flags) {
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV}, *list = NULL;
    snprintf(service, sizeof service, "%d", port);
    return getaddrinfo(address, service, &hints, &list) == 0 ? list : NULL;
}

static int port_of(int socket) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(socket, (struct sockaddr *)&a, &n) != 0) return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

static int listen_at(const struct addrinfo *a, int waiting) {
    int s = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) return -1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (a->ai_family == AF_INET6) setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(s, a->ai_addr, a->ai_addrlen) == 0 && listen(s, waiting) == 0) return s;
    int error = errno;
    close(s);
    errno = error;
    return -1;
}

int para_tcp_listen(const char *address, int *port, int waiting) {
    struct addrinfo *list = look_up(address, *port, AI_PASSIVE);
    int s = -1;
    errno = EADDRNOTAVAIL;
    /* Of all addresses, IPv6's takes IPv4's connections, too, where the host has it. */
    for (int six = 1; six >= 0 && s < 0; six--)
        for (const struct addrinfo *a = list; a && s < 0; a = a->ai_next)
            if ((a->ai_family == AF_INET6) == six && (s = listen_at(a, waiting)) < 0 && errno == EADDRINUSE) six = 0;
    int error = errno;
    if (list) freeaddrinfo(list);
    errno = error;
    if (s >= 0) *port = port_of(s);
    return s;
}

static int connect_to(const struct addrinfo *a, double deadline) {
    int s = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t n = sizeof error;
    if (s < 0) return -1;
    bool made = connect(s, a->ai_addr, a->ai_addrlen) == 0 ||
                (errno == EINPROGRESS && wait_for(s, POLLOUT, deadline) && getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error == 0);
    if (made) {
        no_delay(s);
        return s;
    }
    close(s);
    return -1;
}

int para_tcp_connect(const char *address, int port, double deadline) {
    struct addrinfo *list = look_up(address, port, 0);
    int s = -1;
    for (const struct addrinfo *a = list; a && s < 0; a = a->ai_next) s = connect_to(a, deadline);
    if (list) freeaddrinfo(list);
    return s;
}

int para_tcp_accept(int listener, double deadline) {
    if (!wait_for(listener, POLLIN, deadline)) return -1;
    int s = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s >= 0) no_delay(s);
    return s;
}

int64_t para_tcp_write_some(int socket, const void *bytes, int64_t n) {
    ssize_t moved = send(socket, bytes, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (moved >= 0) return moved;
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

int64_t para_tcp_read_some(int socket, void *bytes, int64_t n) {
    ssize_t moved = recv(socket, bytes, (size_t)n, MSG_DONTWAIT);
    if (moved > 0) return moved;
    return moved < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

bool para_tcp_write_all(int socket, const void *bytes, size_t n, double deadline) {
    for (size_t done = 0; done < n;) {
        int64_t moved = para_tcp_write_some(socket, (const char *)bytes + done, (int64_t)(n - done));
        if (moved < 0 || (moved == 0 && !wait_for(socket, POLLOUT, deadline))) return false;
        done += (size_t)moved;
    }
    return true;
}

bool para_tcp_read_all(int socket, void *bytes, size_t n, double deadline) {
    for (size_t done = 0; done < n;) {
        int64_t moved = para_tcp_read_some(socket, (char *)bytes + done, (int64_t)(n - done));
        if (moved < 0 || (moved == 0 && !wait_for(socket, POLLIN, deadline))) return false;
        done += (size_t)moved;
    }
    return true;
}
