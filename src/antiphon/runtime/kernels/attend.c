/* Softmax attention of few queries over a cache (Vaswani et al. 2017, eq. 1): only what is visible is read.
 *
 * The visible slots of a row are listed first. Scores and sums then run over that list, tile by tile, with the running
 * maximum and sum of Milakov and Gimelshein (2018). The result does not depend on hidden slots, neither on their
 * content nor on their number. */
#include <stddef.h>

#include "parallel.h"
#include "softmax.h"

enum { TILE_KEYS = 256, BLOCK_QUERIES = 8 }; /* keys and queries that are computed together */

/* Where the keys and values of a row's history are, relative to the row's own cache. `ancestor[c]` is the hypothesis of
 * the source whose cache contains slot c of the history; the row itself is hypothesis `own`. NULL: the row's own cache
 * contains all slots. The others are strides of rows and slots. */
typedef struct {
    const int32_t *ancestor;
    int64_t own, k_row, v_row, k_slot, v_slot;
} History;

/* A tile of visible slots: their number, their indices, the offsets of their keys and values, and `next`, where the
 * search for the following tile begins. */
typedef struct {
    int64_t count, next;
    int32_t slot[TILE_KEYS + LANES];
    int64_t k_at[TILE_KEYS + LANES], v_at[TILE_KEYS + LANES];
} Tile;

/* Queries that share keys and a row of the mask, and the state of their running softmax. */
typedef struct {
    const void *k, *v; /* of floats, or of half-precision numbers */
    int64_t D, bias_stride;
    int64_t count;
    const float *q[BLOCK_QUERIES], *bias[BLOCK_QUERIES];
    float *out[BLOCK_QUERIES];
    float most[BLOCK_QUERIES], sum[BLOCK_QUERIES]; /* the largest logit; the sum of exp(logit - most) */
    float decay[BLOCK_QUERIES];              /* the factor of the sums of earlier tiles */
    float weight[BLOCK_QUERIES][TILE_KEYS + LANES];
} Block;

static void find_offsets(Tile *tile, const History *history) {
    for (int64_t i = 0; i < tile->count; i++) {
        int64_t c = tile->slot[i], rows = history->ancestor ? history->ancestor[c] - history->own : 0;
        tile->k_at[i] = rows * history->k_row + c * history->k_slot;
        tile->v_at[i] = rows * history->v_row + c * history->v_slot;
    }
}

static void next_tile(Tile *tile, const History *history, const uint8_t *visible, int64_t stride, int64_t C) {
    int64_t n = 0, c = tile->next;
    while (c < C && n < TILE_KEYS) {
        if (visible && stride == 1 && c + 8 <= C) {
            uint64_t eight;
            memcpy(&eight, visible + c, sizeof eight);
            if (eight == 0) {
                c += 8;
                continue;
            }
        }
        int64_t stop = c + 8 < C ? c + 8 : C;
        if (stop - c > TILE_KEYS - n) stop = c + TILE_KEYS - n;
        for (; c < stop; c++) {
            tile->slot[n] = (int32_t)c;
            n += !visible || visible[c * stride];
        }
    }
    tile->count = n;
    tile->next = c;
    find_offsets(tile, history);
}

/* Eight numbers, or the first `count` (below 8), of a key or value. */
INLINE Floats load_kv(const void *all, int64_t at, const int half) {
    return half ? load8_half((const uint16_t *)all + at) : load8((const float *)all + at);
}
INLINE Floats load_kv_some(const void *all, int64_t at, int64_t count, const int half) {
    if (!half) return load_some((const float *)all + at, count);
    uint16_t held[LANES] = {0};
    memcpy(held, (const uint16_t *)all + at, sizeof *held * (size_t)count);
    return load8_half(held);
}

/* q . k of `queries` queries from `first` on with all keys of the tile, 8 products at a time. Every product is summed
 * in the same order whatever stands beside it. */
INLINE void scores(Block *b, const Tile *tile, int64_t first, const int queries, const int half) {
    const int keys = LANES / queries;
    const int64_t last = tile->count - 1, D = b->D;
    for (int64_t i = 0; i <= last; i += keys) {
        int64_t k[LANES];
        Floats sums[LANES];
        for (int j = 0; j < keys; j++) k[j] = tile->k_at[i + j < last ? i + j : last];
        for (int j = 0; j < LANES; j++) sums[j] = all8(0);
        int64_t d = 0;
        for (; d + LANES <= D; d += LANES) {
            Floats key[LANES]; /* loaded once, which the compiler does not see by itself */
            for (int j = 0; j < keys; j++) key[j] = load_kv(b->k, k[j] + d, half);
            for (int m = 0; m < queries; m++) {
                Floats q = load8(b->q[first + m] + d);
                for (int j = 0; j < keys; j++) sums[m * keys + j] += q * key[j];
            }
        }
        if (d < D)
            for (int m = 0; m < queries; m++) {
                Floats q = load_some(b->q[first + m] + d, D - d);
                for (int j = 0; j < keys; j++) sums[m * keys + j] += q * load_kv_some(b->k, k[j] + d, D - d, half);
            }
        Floats all = sums8(sums);
        for (int m = 0; m < queries; m++)
            memcpy(b->weight[first + m] + i, (const float *)&all + m * keys, (size_t)keys * sizeof(float));
    }
}

/* Turns the scores of query m into logits, then into weights exp(logit - most); updates `most`, `sum` and `decay`. */
static void weigh(Block *b, const Tile *tile, int64_t m, float factor) {
    const int64_t n = tile->count, padded = (n + LANES - 1) / LANES * LANES;
    const Words lane = {0, 1, 2, 3, 4, 5, 6, 7};
    const float before = b->most[m], *bias = b->bias[m];
    float *w = b->weight[m];
    Floats most = all8(before), sums = all8(0);
    if (bias)
        for (int64_t i = 0; i < n; i++) w[i] = w[i] * factor + bias[tile->slot[i] * b->bias_stride];
    for (int64_t i = n; i < padded; i++) w[i] = w[n - 1]; /* counts in the maximum already */
    for (int64_t i = 0; i < padded; i += LANES) {
        Floats logits = bias ? load8(w + i) : load8(w + i) * factor;
        most = at_least8(logits, most);
        store8(w + i, logits);
    }
    const float after = max_of(most), shift = after == -INFINITY ? 0 : after;
    for (int64_t i = 0; i < padded; i += LANES) {
        Floats e = choose8(lane < (int32_t)(n - i), exp8(load8(w + i) - shift), all8(0));
        sums += e;
        store8(w + i, e);
    }
    b->decay[m] = before == after ? 1 : before == -INFINITY ? 0 : expf(before - shift);
    b->sum[m] = b->sum[m] * b->decay[m] + sum_of(sums);
    b->most[m] = after;
}

/* out = decay * out + the weighted sum of values, for `queries` queries and 8 * `wide` numbers from d on. */
INLINE void values(Block *b, const Tile *tile, int64_t first, const int queries, int64_t d, const int wide,
                   const int half) {
    Floats sums[LANES];
    const float *weight = b->weight[first];
    const int64_t *at = tile->v_at, count = tile->count;
    for (int m = 0; m < queries; m++)
        for (int j = 0; j < wide; j++)
            sums[m * wide + j] = load8(b->out[first + m] + d + j * LANES) * b->decay[first + m];
    for (int64_t i = 0; i < count; i++) {
        Floats value[LANES];
        for (int j = 0; j < wide; j++) value[j] = load_kv(b->v, at[i] + d + j * LANES, half);
        for (int m = 0; m < queries; m++) {
            Floats part = all8(weight[m * (TILE_KEYS + LANES) + i]);
            for (int j = 0; j < wide; j++) sums[m * wide + j] += value[j] * part;
        }
    }
    for (int m = 0; m < queries; m++)
        for (int j = 0; j < wide; j++) store8(b->out[first + m] + d + j * LANES, sums[m * wide + j]);
}

/* The same for the fewer than eight numbers at the end. */
INLINE void values_rest(Block *b, const Tile *tile, int64_t m, int64_t d, const int half) {
    Floats sum = load_some(b->out[m] + d, b->D - d) * b->decay[m];
    for (int64_t i = 0; i < tile->count; i++)
        sum += load_kv_some(b->v, tile->v_at[i] + d, b->D - d, half) * b->weight[m][i];
    store_some(b->out[m] + d, sum, b->D - d);
}

INLINE void add_tile(Block *b, const Tile *tile, int64_t first, const int queries, float factor, const int half) {
    const int wide = LANES / queries;
    int64_t d = 0;
    scores(b, tile, first, queries, half);
    for (int m = 0; m < queries; m++) weigh(b, tile, first + m, factor);
    for (; d + LANES * wide <= b->D; d += LANES * wide) values(b, tile, first, queries, d, wide, half);
    for (; d + LANES <= b->D; d += LANES) values(b, tile, first, queries, d, 1, half);
    if (d < b->D)
        for (int m = 0; m < queries; m++) values_rest(b, tile, first + m, d, half);
}

/* Attention of a block over all visible slots; `tile` contains the first of them. */
INLINE void attend_block(Block *b, Tile *tile, const History *history, const uint8_t *visible, int64_t stride,
                         int64_t C, float factor, const int half) {
    for (int64_t m = 0; m < b->count; m++) memset(b->out[m], 0, (size_t)b->D * sizeof(float));
    for (;;) {
        int64_t m = 0;
        if (tile->count) {
            for (; m + 4 <= b->count; m += 4) add_tile(b, tile, m, 4, factor, half);
            for (; m + 2 <= b->count; m += 2) add_tile(b, tile, m, 2, factor, half);
            for (; m < b->count; m++) add_tile(b, tile, m, 1, factor, half);
        }
        if (tile->next >= C) break;
        next_tile(tile, history, visible, stride, C);
    }
    for (int64_t m = 0; m < b->count; m++) {
        const float part = b->sum[m] == 0 ? 0 : 1 / b->sum[m];
        for (int64_t d = 0; d < b->D; d++) b->out[m][d] *= part;
    }
}

/* Adds query `query` of head h to the block, with the logits of the sinks in its denominator. */
static void join(const Step *s, Block *block, int64_t b, int64_t h, int64_t query) {
    const int64_t *n = s->n, m = block->count++, sinks = n[ATTEND_SINK_COUNT];
    const float *q = s->p[ATTEND_Q], *bias = s->p[ATTEND_BIAS], *sink = s->p[ATTEND_SINKS];
    float *out = s->p[ATTEND_OUT];
    block->q[m] = q + b * n[ATTEND_Q_STRIDE_ROW] + h * n[ATTEND_Q_STRIDE_HEAD] + query * n[ATTEND_Q_STRIDE_QUERY];
    if (bias)
        bias += b * n[ATTEND_BIAS_STRIDE_ROW] + h * n[ATTEND_BIAS_STRIDE_HEAD] + query * n[ATTEND_BIAS_STRIDE_QUERY];
    block->bias[m] = bias;
    block->out[m] = out + b * n[ATTEND_OUT_STRIDE_ROW] + query * n[ATTEND_OUT_STRIDE_QUERY] +
                    h * n[ATTEND_OUT_STRIDE_HEAD];
    float most = -INFINITY, sum = 0;
    if (sink) {
        sink += h * sinks;
        for (int64_t e = 0; e < sinks; e++) most = sink[e] > most ? sink[e] : most;
        for (int64_t e = 0; e < sinks; e++) sum += most == -INFINITY ? 0 : expf(sink[e] - most);
    }
    block->most[m] = most;
    block->sum[m] = sum;
}

/* Rows and key heads [from, to), counted b * G + g. The queries of a block share a key head and a row of the mask. */
INLINE void attend_some(const Step *s, int64_t from, int64_t to, const int half) {
    const int64_t *n = s->n, G = n[ATTEND_KV_HEADS], Q = n[ATTEND_QUERIES], C = n[ATTEND_KEYS];
    const int64_t share = n[ATTEND_HEADS] / G, mask_stride = n[ATTEND_VISIBLE_STRIDE_KEY];
    const uint8_t *mask = s->p[ATTEND_VISIBLE];
    const int32_t *ancestry = s->p[ATTEND_ANCESTRY];
    const int one_mask = !mask || ((share == 1 || n[ATTEND_VISIBLE_STRIDE_HEAD] == 0) &&
                                   (Q == 1 || n[ATTEND_VISIBLE_STRIDE_QUERY] == 0));
    const uint8_t *listed = NULL;
    int64_t listed_for = -1; /* the row whose history the tile follows, where each row has its own */
    int complete = 0;        /* the tile contains every visible key of `listed` */
    Tile tile;
    Block block;
    History history = {.k_row = n[ATTEND_K_STRIDE_ROW],
                       .v_row = n[ATTEND_V_STRIDE_ROW],
                       .k_slot = n[ATTEND_K_STRIDE_KEY],
                       .v_slot = n[ATTEND_V_STRIDE_KEY]};
    for (int64_t part = from; part < to; part++) {
        int64_t b = part / G, g = part % G;
        const int64_t size = half ? sizeof(uint16_t) : sizeof(float);
        block.k = (const char *)s->p[ATTEND_K] + (b * n[ATTEND_K_STRIDE_ROW] + g * n[ATTEND_K_STRIDE_HEAD]) * size;
        block.v = (const char *)s->p[ATTEND_V] + (b * n[ATTEND_V_STRIDE_ROW] + g * n[ATTEND_V_STRIDE_HEAD]) * size;
        block.D = n[ATTEND_DIM], block.bias_stride = n[ATTEND_BIAS_STRIDE_KEY];
        if (ancestry) {
            history.ancestor = ancestry + b * n[ATTEND_ANCESTRY_STRIDE];
            history.own = b % n[ATTEND_BEAM_WIDTH];
        }
        for (int64_t i = 0; i < share * Q;) {
            int64_t h = g * share + i / Q, most = one_mask ? BLOCK_QUERIES : 1;
            const uint8_t *visible = mask;
            if (mask)
                visible += b * n[ATTEND_VISIBLE_STRIDE_ROW] + h * n[ATTEND_VISIBLE_STRIDE_HEAD] +
                           i % Q * n[ATTEND_VISIBLE_STRIDE_QUERY];
            block.count = 0;
            for (; i < share * Q && block.count < most; i++) join(s, &block, b, g * share + i / Q, i % Q);
            if (!complete || visible != listed || (history.ancestor && listed_for != b)) {
                tile.next = 0;
                next_tile(&tile, &history, visible, mask_stride, C);
                listed = visible, listed_for = b;
                complete = tile.next >= C;
            }
            attend_block(&block, &tile, &history, visible, mask_stride, C, (float)s->f[ATTEND_SCALE], half);
        }
    }
}

static void attend_heads(const Step *s, int64_t from, int64_t to) { attend_some(s, from, to, 0); }
static void attend_half(const Step *s, int64_t from, int64_t to) { attend_some(s, from, to, 1); }

/* out = softmax(q . k * scale + bias, over the visible keys and the sinks) . v, where query head h reads key head
 * h / (H / G). visible (bytes), bias, sinks (logits that join the denominator only) and ancestry (int32) may be NULL. A
 * query that sees no key gives zeros. */
EXPORT void attend(const Step *s) {
    const int64_t *n = s->n;
    const int64_t products = n[ATTEND_ROWS] * n[ATTEND_HEADS] * n[ATTEND_QUERIES] * n[ATTEND_KEYS] * n[ATTEND_DIM];
    in_ranges(s, n[ATTEND_KV_HALF] ? attend_half : attend_heads, n[ATTEND_ROWS] * n[ATTEND_KV_HEADS], products);
}
