/* para plan: what passes between hosts. SPDX-License-Identifier: Apache-2.0 */
#include "plan_hosts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "complain.h"

int plan_check_hosts(const number_list *hosts, request_options *r) {
    int sum = 0;
    for (int i = 0; i < hosts->count; i++) {
        double n = hosts->value[i];
        if (n < 1 || n > MAX_HOSTS || n != floor(n) || hosts->count > MAX_HOSTS) {
            complain("plan", "--hosts: give a number of hosts, or the ranks of each, such as 3,5; up to %d", MAX_HOSTS);
            return EXIT_USAGE;
        }
        sum += (int)n;
        if (hosts->count > 1) r->host_ranks[i] = (int)n;
    }
    r->hosts = hosts->count == 1 ? sum : hosts->count;
    if (hosts->count > 1 && r->ranks == 1) r->ranks = sum;
    return EXIT_DONE;
}

/* A sentence in lines of up to 110 columns, those after the first indented. */
static void show_text(const char *text, int indent) {
    enum { COLUMNS = 110 };
    int column = indent;
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column > indent && column + 1 + word > COLUMNS) printf("\n%*s", column = indent, "");
        else if (column > indent) column += printf(" ");
        column += printf("%.*s", word, text);
        text += word + (text[word] == ' ');
    }
    printf("\n");
}

void plan_show_hosts(const para_plan *plan, const para_mesh_plan *mesh, int meshes) {
    if (plan->hosts == 1) return;
    printf("\nhosts         ");
    show_text(plan->why_mesh, 14);
    printf("%-5s %4s %7s %17s %17s %20s\n", "batch", "ring", "ulysses", "between hosts", "within hosts",
           "a ulysses group");
    for (int i = 0; i < meshes; i++) {
        const para_mesh_plan *p = &mesh[i];
        printf("%5d %4d %7d %14.3f MB %14.3f MB %20s%s\n", p->batch, p->ring, p->ulysses, (double)p->host_bytes / 1e6,
               (double)(p->sent_bytes - p->host_bytes) / 1e6,
               p->ulysses == 1       ? "-"
               : p->ulysses_in_hosts ? "on one host"
                                     : "on several hosts",
               p->chosen ? "  chosen" : "");
    }
    for (int i = 0; i < meshes; i++)
        if (mesh[i].chosen)
            printf("              a step sends %lld bytes from host to host\n", (long long)mesh[i].host_bytes);
    printf("\n");
}
