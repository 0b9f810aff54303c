/* Rates between those that were measured. SPDX-License-Identifier: Apache-2.0 */
#include "backend/rates.h"

#include <math.h>
#include <string.h>

enum { DIMS = 3 };

/* Where a row lies: what its rate depends on, and the work that it is. */
typedef struct place {
    double at[DIMS];
} place;

static int dims_of(para_rate rate) {
    return rate <= PARA_RATE_ATTENTION ? 3 : rate < PARA_RATE_PROCESS ? 1 : 2;
}

/* Attention's heads and queries are shared out alike: what counts is their product. */
static place place_of(para_rate rate, const double *size) {
    if (rate == PARA_RATE_ATTENTION) return (place){{size[0] * size[1], size[2], size[3]}};
    place p = {{0}};
    memcpy(p.at, size, (size_t)dims_of(rate) * sizeof *size);
    return p;
}

/* Up to a factor, which is the same for all of a table. The ranks that an exchange goes to are no work. */
static double work_of(para_rate rate, const place *p) {
    switch (dims_of(rate)) {
    case 3: return p->at[0] * p->at[1] * p->at[2];
    case 2: return p->at[1];
    default: return p->at[0];
    }
}

/* What a time may be the sum of: the work, a start, and for each size what grows with the others alone, such as the bytes of a product's operands, or the tiles
 * that a size fills badly. */
enum { TERMS = 5 };
static int terms_of(para_rate rate, const place *p, double *term) {
    int n = 2;
    term[0] = work_of(rate, p);
    term[1] = 1;
    if (rate >= PARA_RATE_PROCESS) term[n++] = p->at[0];
    for (int i = 0; rate <= PARA_RATE_ATTENTION && i < DIMS; i++) term[n++] = term[0] / p->at[i];
    return n;
}

/* Solves the n x n system a · x = b, which is positive definite; x in b. */
static void solve(int n, double a[TERMS][TERMS], double *b) {
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++) {
            double f = a[k][i] / a[i][i];
            for (int j = i; j < n; j++) a[k][j] -= f * a[i][j];
            b[k] -= f * b[i];
        }
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++) b[i] -= a[i][j] * b[j];
        b[i] /= a[i][i];
    }
}

/* Seconds at a place inside the rows: the sum of terms that fits those around it best, relative to their times. The nearer they are, in logarithms of the sizes,
 * the more they count, so that it goes through each row. Few rows make it proportional to the work. */
static double fit(const para_rate_table *t, para_rate rate, const place *p) {
    static const double
        nearest = 1e-4,
        slack = 1e-4; /* squared distance that no row is nearer than; how much terms but the work are held back */
    const int dims = dims_of(rate), seconds = para_rate_columns(rate) - 1;
    double a[TERMS][TERMS] = {{0}}, b[TERMS] = {0}, here[TERMS], sum = 0, weights = 0, slowest = 0, fastest = INFINITY,
           unit = 0;
    const int n = terms_of(rate, p, here);
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < t->rows; r++) {
            place q = place_of(rate, t->row[r]);
            double term[TERMS], distance = nearest, as_work = t->row[r][seconds] * here[0] / work_of(rate, &q);
            for (int i = 0; i < dims; i++) distance += log2(q.at[i] / p->at[i]) * log2(q.at[i] / p->at[i]);
            const double w = 1 / (distance * distance);
            if (pass == 0) { /* in what unit the terms' parts are about 1 */
                weights += w;
                unit += w * as_work;
                slowest = fmax(slowest, as_work);
                fastest = fmin(fastest, as_work);
                continue;
            }
            terms_of(rate, &q, term);
            for (int i = 0; i < n; i++) term[i] *= unit / weights / (here[i] * t->row[r][seconds]);
            for (int i = 0; i < n; i++) {
                for (int k = 0; k < n; k++) a[i][k] += w * term[i] * term[k];
                b[i] += w * term[i];
            }
        }
    for (int i = 0; i < n; i++) a[i][i] += (i == 0 ? 1e-9 : slack) * weights;
    solve(n, a, b);
    for (int i = 0; i < n; i++) sum += b[i] * unit / weights;
    return fmin(fmax(sum, fastest), slowest);
}

double para_rate_seconds(const para_rate_table *t, para_rate rate, const double *size) {
    place p = place_of(rate, size), inside = p;
    const int dims = dims_of(rate);
    if (t->rows == 0 || work_of(rate, &p) <= 0) return 0;
    for (int i = 0; i < dims; i++) {
        double least = INFINITY, most = 0;
        for (int r = 0; r < t->rows; r++) {
            double at = place_of(rate, t->row[r]).at[i];
            least = fmin(least, at);
            most = fmax(most, at);
        }
        inside.at[i] = fmin(fmax(p.at[i], least), most);
        if (dims > 1)
            p.at[i] = fmax(
                p.at[i],
                least); /* a product's rows or an exchange's bytes are no longer what it takes; elsewhere the launch is the end of it */
    }
    return fit(t, rate, &inside) * work_of(rate, &p) / work_of(rate, &inside);
}

static double op_seconds(const para_rates *rates, const para_counted_op *op) {
    const para_rate_table *table = rates->set->table;
    if (op->rate == PARA_RATE_LINEAR || op->rate == PARA_RATE_ATTENTION) {
        const double size[] = {(double)op->size[0], (double)op->size[1], (double)op->size[2], (double)op->size[3]};
        return para_rate_seconds(&table[op->rate], op->rate, size) +
               para_rate_seconds(&table[PARA_RATE_EPILOGUE], PARA_RATE_EPILOGUE, &op->activation);
    }
    return para_rate_seconds(&table[op->rate], op->rate, &op->bytes);
}

double para_rates_op(const para_rates *rates, const para_counted_op *op) {
    if (rates->flops > 0 || !rates->set) return rates->flops > 0 ? op->flops / rates->flops : 0;
    double seconds = op_seconds(rates, op);
    return seconds > 0 && seconds < rates->set->launch ? rates->set->launch : seconds;
}

double para_rates_launch(const para_rates *rates, const para_counted_op *op) {
    if (rates->flops > 0 || !rates->set || (op->flops <= 0 && op->bytes <= 0)) return 0;
    return rates->set->launch;
}

para_rate para_rates_link(const para_rates *rates, para_rate link) {
    static const para_rate order[PARA_LINKS][PARA_LINKS] = {
        {PARA_RATE_PROCESS, PARA_RATE_HOST, PARA_RATE_HOSTS},
        {PARA_RATE_HOST, PARA_RATE_PROCESS, PARA_RATE_HOSTS},
        {PARA_RATE_HOSTS, PARA_RATE_HOST, PARA_RATE_PROCESS},
    };
    if (rates->bandwidth > 0 || !rates->set) return PARA_RATES;
    for (int i = 0; i < PARA_LINKS; i++) {
        para_rate r = order[link - PARA_RATE_PROCESS][i];
        if (rates->set->table[r].rows) return r;
    }
    return PARA_RATES;
}

double para_rates_exchange(const para_rates *rates, const para_counted_exchange *x, double *overlap) {
    para_rate link = para_rates_link(rates, x->link);
    const double size[] = {x->targets, x->bytes};
    *overlap = 0;
    if (link != PARA_RATES) {
        *overlap = rates->set->overlap[link - PARA_RATE_PROCESS];
        return para_rate_seconds(&rates->set->table[link], link, size);
    }
    if (rates->bandwidth <= 0) return 0;
    return x->bytes / rates->bandwidth + (double)x->messages * rates->latency;
}
