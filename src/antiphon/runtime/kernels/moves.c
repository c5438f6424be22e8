/* Moves of whole vectors: embeddings, and what a cache takes in and how its rows follow their beams. */
#include <stdatomic.h>
#include <string.h>

#include "shares.h"
#include "vectors.h"

static void embed_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t *ids = s->p[0], D = s->n[1], V = s->n[2];
    const float factor = (float)s->f[0];
    for (int64_t r = from; r < to; r++) {
        int64_t id = ids[r] >= 0 && ids[r] < V ? ids[r] : 0;
        const float *row = (const float *)s->p[1] + id * D;
        const float *added = s->p[2] ? (const float *)s->p[2] + r * s->n[3] : NULL;
        float *out = (float *)s->p[3] + r * D;
        if (added)
            for (int64_t i = 0; i < D; i++) out[i] = row[i] * factor + added[i];
        else
            for (int64_t i = 0; i < D; i++) out[i] = row[i] * factor;
    }
}

/* out = table[id] * factor + added. p: ids int64 (R), table (V, D), added (R or 1, D) or NULL, out (R, D). n: R, D, V,
 * row stride of added (0: one row for all). f: factor. An id that is not in [0, V) is read as 0. */
EXPORT void embed(const Step *s) { in_shares(s, embed_rows, s->n[0], s->n[0] * s->n[1]); }

static void put_half(uint16_t *leaf, const float *new, int64_t D) {
    int64_t d = 0;
    for (; d + LANES <= D; d += LANES) store8_half(leaf + d, load8(new + d));
    if (d < D) {
        uint16_t rest[LANES];
        store8_half(rest, load_some(new + d, D - d));
        memcpy(leaf + d, rest, sizeof *rest * (size_t)(D - d));
    }
}

static void put_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t *n = s->n, *slots = s->p[2], G = n[1], L = n[2], D = n[3];
    for (int64_t r = from; r < to; r++)
        for (int64_t g = 0; g < G; g++)
            for (int64_t l = 0; l < L; l++) {
                const float *new = (const float *)s->p[0] + r * n[4] + g * n[5] + l * n[6];
                int64_t at = r * n[7] + g * n[8] + slots[r * n[10] + l * n[11]] * n[9];
                if (n[12]) put_half((uint16_t *)s->p[1] + at, new, D);
                else memcpy((float *)s->p[1] + at, new, (size_t)D * sizeof *new);
            }
}

/* leaf[r, g, slots[r, l]] = new[r, g, l]. p: new (R, G, L, D), leaf (R, G, C, D), slots int64 (R or 1, L). n: R, G, L,
 * D, strides (r, g, l) of new, (r, g, c) of leaf, (r, l) of slots, whether the leaf is of half-precision numbers. */
EXPORT void put(const Step *s) { in_shares(s, put_rows, s->n[0], s->n[0] * s->n[1] * s->n[2] * s->n[3]); }

static atomic_llong moved;

/* How many bytes `reorder` has copied since the library was loaded. */
EXPORT int64_t bytes_moved(void) { return (int64_t)moved; }

typedef struct {
    float *leaf, *spare; /* row 0 of one head; room for one row of one head */
    int64_t stride, run; /* between rows; floats of one row of one head */
    int64_t copies;
} Head;

static void copy_run(Head *head, float *to, const float *from) {
    memcpy(to, from, (size_t)head->run * sizeof *to);
    head->copies++;
}

/* Row r becomes what row index[r] was, within rows [first, first + W). A row is written once no row waits for what it
 * holds; what is then left are cycles, of which one row each goes through the spare room. */
static void reorder_group(Head *head, const int64_t *index, int64_t first, int64_t W, int32_t *waiting, int32_t *ready) {
    float *leaf = head->leaf;
    int64_t count = 0;
    memset(waiting, 0, (size_t)W * sizeof *waiting);
    for (int64_t r = 0; r < W; r++) /* a row that stays is never written: nobody waits for it */
        if (index[first + r] != first + r) waiting[index[first + r] - first]++;
    for (int64_t r = 0; r < W; r++)
        if (waiting[r] == 0 && index[first + r] != first + r) ready[count++] = (int32_t)r;
    while (count) {
        int64_t r = ready[--count], source = index[first + r] - first;
        copy_run(head, leaf + (first + r) * head->stride, leaf + (first + source) * head->stride);
        waiting[r] = -1; /* done */
        if (--waiting[source] == 0 && index[first + source] != first + source) ready[count++] = (int32_t)source;
    }
    for (int64_t start = 0; start < W; start++) {
        if (waiting[start] <= 0 || index[first + start] == first + start) continue;
        copy_run(head, head->spare, leaf + (first + start) * head->stride);
        int64_t r = start;
        for (int64_t source; (source = index[first + r] - first) != start; r = source) {
            copy_run(head, leaf + (first + r) * head->stride, leaf + (first + source) * head->stride);
            waiting[r] = -1;
        }
        copy_run(head, leaf + (first + r) * head->stride, head->spare);
        waiting[r] = -1;
    }
}

static void reorder_heads(const Step *s, int64_t from, int64_t to) {
    const int64_t R = s->n[0], run = s->n[2], W = s->n[5], *index = s->p[1];
    for (int64_t g = from; g < to; g++) {
        float *spare = (float *)s->p[2] + g * (run + 2 * W);
        int32_t *plan = (int32_t *)(void *)(spare + run);
        Head head = {(float *)s->p[0] + g * s->n[4], spare, s->n[3], run, 0};
        for (int64_t first = 0; first < R; first += W)
            reorder_group(&head, index, first, R - first < W ? R - first : W, plan, plan + W);
        atomic_fetch_add(&moved, (long long)(head.copies * run * (int64_t)sizeof(float)));
    }
}

/* How many floats of scratch `reorder` needs: a head at a time, one row and the plan of a group. */
EXPORT int64_t reorder_scratch_floats(const Step *s) { return s->n[1] * (s->n[2] + 2 * s->n[5]); }

/* In place, row r becomes what row index[r] was. p: leaf (R, G, C, D), index int64 (R), scratch
 * (`reorder_scratch_floats`). n: R, G, floats in use within a head (from its start), strides (r, g) of leaf, size of the
 * groups of neighbouring rows within which index stays. Rows that stay are not touched; the others are copied once. */
EXPORT void reorder(const Step *s) { in_shares(s, reorder_heads, s->n[1], s->n[0] * s->n[1] * s->n[2]); }
