/* Copies of whole vectors: embeddings, writing into a cache, and the exchange of a cache's rows. */
#include <stdatomic.h>
#include <string.h>

#include "parallel.h"
#include "vectors.h"

static void embed_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t *ids = s->p[EMBED_IDS], D = s->n[EMBED_DIM], V = s->n[EMBED_VOCAB_SIZE];
    const float *table = s->p[EMBED_TABLE], *all_added = s->p[EMBED_ADDED], factor = (float)s->f[EMBED_FACTOR];
    for (int64_t r = from; r < to; r++) {
        int64_t id = ids[r] >= 0 && ids[r] < V ? ids[r] : 0;
        const float *row = table + id * D;
        float *out = (float *)s->p[EMBED_OUT] + r * D;
        if (all_added) {
            const float *added = all_added + r * s->n[EMBED_ADDED_STRIDE];
            for (int64_t i = 0; i < D; i++) out[i] = row[i] * factor + added[i];
        }
        else
            for (int64_t i = 0; i < D; i++) out[i] = row[i] * factor;
    }
}

/* out = table[id] * factor + added, where added may be NULL. An id outside [0, V) is read as 0. */
EXPORT void embed(const Step *s) { in_ranges(s, embed_rows, s->n[EMBED_ROWS], s->n[EMBED_ROWS] * s->n[EMBED_DIM]); }

static void put_half(uint16_t *cache, const float *new, int64_t D) {
    int64_t d = 0;
    for (; d + LANES <= D; d += LANES) store8_half(cache + d, load8(new + d));
    if (d < D) {
        uint16_t rest[LANES];
        store8_half(rest, load_some(new + d, D - d));
        memcpy(cache + d, rest, sizeof *rest * (size_t)(D - d));
    }
}

static void put_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t *n = s->n, *slots = s->p[PUT_SLOTS], G = n[PUT_HEADS], L = n[PUT_LENGTH], D = n[PUT_DIM];
    const float *all_new = s->p[PUT_NEW];
    for (int64_t r = from; r < to; r++)
        for (int64_t g = 0; g < G; g++)
            for (int64_t l = 0; l < L; l++) {
                const float *new = all_new + r * n[PUT_NEW_STRIDE_ROW] + g * n[PUT_NEW_STRIDE_HEAD] +
                                   l * n[PUT_NEW_STRIDE_POSITION];
                const int64_t slot = slots[r * n[PUT_SLOTS_STRIDE_ROW] + l * n[PUT_SLOTS_STRIDE_POSITION]];
                const int64_t at = r * n[PUT_CACHE_STRIDE_ROW] + g * n[PUT_CACHE_STRIDE_HEAD] +
                                   slot * n[PUT_CACHE_STRIDE_SLOT];
                if (n[PUT_CACHE_HALF]) put_half((uint16_t *)s->p[PUT_CACHE] + at, new, D);
                else memcpy((float *)s->p[PUT_CACHE] + at, new, (size_t)D * sizeof *new);
            }
}

/* cache[b, g, slots[b, l]] = new[b, g, l]. */
EXPORT void put(const Step *s) {
    in_ranges(s, put_rows, s->n[PUT_ROWS], s->n[PUT_ROWS] * s->n[PUT_HEADS] * s->n[PUT_LENGTH] * s->n[PUT_DIM]);
}

static atomic_llong moved;

/* The number of bytes that `reorder` has copied since the library was loaded. */
EXPORT int64_t bytes_moved(void) { return (int64_t)moved; }

typedef struct {
    float *cache, *spare; /* row 0 of one head; a buffer for one row of one head */
    int64_t stride, run;  /* between rows; floats of one row of one head */
    int64_t copies;
} Head;

static void copy_run(Head *head, float *to, const float *from) {
    memcpy(to, from, (size_t)head->run * sizeof *to);
    head->copies++;
}

/* Row r gets the content that row index[r] had, within rows [first, first + W). A row is overwritten when no other row
 * still needs its content. What then remains are cycles; one row of each goes through the spare buffer. */
static void reorder_group(Head *head, const int64_t *index, int64_t first, int64_t W, int32_t *waiting,
                          int32_t *ready) {
    float *cache = head->cache;
    int64_t count = 0;
    memset(waiting, 0, (size_t)W * sizeof *waiting);
    for (int64_t r = 0; r < W; r++) /* a row that stays is never overwritten */
        if (index[first + r] != first + r) waiting[index[first + r] - first]++;
    for (int64_t r = 0; r < W; r++)
        if (waiting[r] == 0 && index[first + r] != first + r) ready[count++] = (int32_t)r;
    while (count) {
        int64_t r = ready[--count], source = index[first + r] - first;
        copy_run(head, cache + (first + r) * head->stride, cache + (first + source) * head->stride);
        waiting[r] = -1; /* done */
        if (--waiting[source] == 0 && index[first + source] != first + source) ready[count++] = (int32_t)source;
    }
    for (int64_t start = 0; start < W; start++) {
        if (waiting[start] <= 0 || index[first + start] == first + start) continue;
        copy_run(head, head->spare, cache + (first + start) * head->stride);
        int64_t r = start;
        for (int64_t source; (source = index[first + r] - first) != start; r = source) {
            copy_run(head, cache + (first + r) * head->stride, cache + (first + source) * head->stride);
            waiting[r] = -1;
        }
        copy_run(head, cache + (first + r) * head->stride, head->spare);
        waiting[r] = -1;
    }
}

static void reorder_heads(const Step *s, int64_t from, int64_t to) {
    const int64_t R = s->n[REORDER_ROWS], run = s->n[REORDER_USED], W = s->n[REORDER_GROUP_ROWS];
    const int64_t *index = s->p[REORDER_INDEX], row_stride = s->n[REORDER_CACHE_STRIDE_ROW];
    for (int64_t g = from; g < to; g++) {
        float *spare = (float *)s->p[REORDER_SCRATCH] + g * (run + 2 * W);
        int32_t *counts = (int32_t *)(void *)(spare + run);
        Head head = {(float *)s->p[REORDER_CACHE] + g * s->n[REORDER_CACHE_STRIDE_HEAD], spare, row_stride, run, 0};
        for (int64_t first = 0; first < R; first += W)
            reorder_group(&head, index, first, R - first < W ? R - first : W, counts, counts + W);
        atomic_fetch_add(&moved, (long long)(head.copies * run * (int64_t)sizeof(float)));
    }
}

/* The floats of scratch memory that `reorder` needs: for each head one row and two integers a row of a group. */
EXPORT int64_t reorder_scratch_floats(const Step *s) {
    return s->n[REORDER_HEADS] * (s->n[REORDER_USED] + 2 * s->n[REORDER_GROUP_ROWS]);
}

/* In place, row r gets the content that row index[r] had, one of the same group of rows. Only the first `used` floats
 * of a head are copied. Rows with index[r] = r are not touched; the others are copied once. */
EXPORT void reorder(const Step *s) {
    in_ranges(s, reorder_heads, s->n[REORDER_HEADS], s->n[REORDER_ROWS] * s->n[REORDER_HEADS] * s->n[REORDER_USED]);
}
