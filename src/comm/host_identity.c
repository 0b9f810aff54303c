/* Which processes share a host. SPDX-License-Identifier: Apache-2.0 */
#include "comm/host_identity.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A number for the kernel's random one, which it draws when it starts. 0: there is none. */
static uint64_t boot_number(void) {
    char text[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!file) return 0;
    size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return n ? h : 0;
}

void para_host_identify(para_host_identity *out) {
    struct stat net;
    memset(out, 0, sizeof *out);
    if (gethostname(out->name, sizeof out->name - 1) != 0) snprintf(out->name, sizeof out->name, "this host");
    out->boot = boot_number();
    if (stat("/proc/self/ns/net", &net) == 0) out->network = (uint64_t)net.st_ino;
}

bool para_host_same(const para_host_identity *a, const para_host_identity *b) {
    return a->boot == b->boot && a->network == b->network && strcmp(a->name, b->name) == 0;
}
