// Attention of a decoder step: to what was written, and to the input.
#include "step.cuh"

constexpr int WIDE = 64;         // width of a head in the quick kernels
constexpr int LANE_VALUES = 8;   // of a head of any width
constexpr int MOST_BEAMS = 16;

// ---- attention to what was written -----------------------------------------------------------------------------------------------

// A block for each head and row. The new token's query, keys and values come as parts [splits, rows, 3, heads, 64]; keys and values
// are written to the cache on the way, those of earlier tokens lie where the ancestor wrote them.
template <typename T>
__device__ __forceinline__ void attend_own(const unsigned char *description, const Row *rows, const Input *inputs,
                                           const float *parts, const T *bias, T *out, int splits, int layer, int heads) {
    constexpr int GROUPS = 16, AT_ONCE = 4; // groups of eight lanes; keys that each has under way
    __shared__ float most_of[GROUPS], sum_of[GROUPS], attended_of[GROUPS][WIDE];
    const int head = blockIdx.x, width = heads * WIDE;
    const Row row = rows[blockIdx.y];
    if (row.input < 0) {
        begin_next();
        wait_for_previous();
        return;
    }
    const Input input = inputs[row.input];
    const int group = threadIdx.x / 8, eighth = threadIdx.x % 8 * 8, length = static_cast<int>(input.length);
    T *cache = reinterpret_cast<T *>(input.own) + head * WIDE + eighth;
    const unsigned char *ancestry = description + row.ancestry;
    uint4 keys[AT_ONCE], values[AT_ONCE];
    const auto fetch = [&](int start) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            // Beyond the end the last token is read again and given no weight.
            const int token = min(start + i * GROUPS + group, length - 1);
            const T *at = cache + own_offset(layer, token, ancestry[token], input.capacity, input.beams, width);
            keys[i] = *reinterpret_cast<const uint4 *>(at);
            values[i] = *reinterpret_cast<const uint4 *>(at + width);
        }
    };
    // Earlier steps wrote these, none of the kernels that may still run.
    if (length > 0) fetch(0);
    begin_next();
    wait_for_previous();
    const Parts<T> qkv{parts, bias, splits, gridDim.y, static_cast<size_t>(3 * width)};
    float query[8], attended[8] = {}, most = -INFINITY, sum = 0.f;
    qkv.load(blockIdx.y, head * WIDE + eighth, query);
    const float factor = rsqrtf(static_cast<float>(WIDE)) * LOG2_E;
#pragma unroll
    for (int j = 0; j < 8; j++) query[j] *= factor;
    const auto score_of = [&](const float(&key)[8]) {
        float score = 0.f;
#pragma unroll
        for (int j = 0; j < 8; j++) score = fmaf(query[j], key[j], score);
        return lane_sum<8>(score);
    };
    for (int start = 0; start < length; start += GROUPS * AT_ONCE) {
        float scores[AT_ONCE], now = most, one[8];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            unpack8<T>(keys[i], one);
            scores[i] = score_of(one);
            if (start + i * GROUPS + group >= length) scores[i] = -INFINITY;
            now = fmaxf(now, scores[i]);
        }
        if (now > -INFINITY) {
            const float fading = exp2f(most - now);
            sum *= fading;
#pragma unroll
            for (int j = 0; j < 8; j++) attended[j] *= fading;
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
                const float weight = exp2f(scores[i] - now);
                sum += weight;
                unpack8<T>(values[i], one);
#pragma unroll
                for (int j = 0; j < 8; j++) attended[j] = fmaf(weight, one[j], attended[j]);
            }
            most = now;
        }
        if (start + GROUPS * AT_ONCE < length) fetch(start + GROUPS * AT_ONCE);
    }
    // The new token belongs to the first group; all lanes of its warp take part in the sum.
    float key[8] = {}, value[8] = {};
    if (threadIdx.x < 32) {
        qkv.load(blockIdx.y, width + head * WIDE + eighth, key);
        qkv.load(blockIdx.y, 2 * width + head * WIDE + eighth, value);
        const float score = score_of(key);
        if (group == 0) {
            const float now = fmaxf(most, score), fading = exp2f(most - now), weight = exp2f(score - now);
            sum = sum * fading + weight;
#pragma unroll
            for (int j = 0; j < 8; j++) attended[j] = attended[j] * fading + weight * value[j];
            most = now;
            T *at = cache + own_offset(layer, length, row.beam, input.capacity, input.beams, width);
            store8(at, key);
            store8(at + width, value);
        }
    }
    if (eighth == 0) most_of[group] = most, sum_of[group] = sum;
#pragma unroll
    for (int j = 0; j < 8; j++) attended_of[group][eighth + j] = attended[j];
    __syncthreads();
    if (threadIdx.x >= WIDE) return;
    float greatest = most_of[0];
    for (int i = 1; i < GROUPS; i++) greatest = fmaxf(greatest, most_of[i]);
    float total = 0.f, result = 0.f;
    for (int i = 0; i < GROUPS; i++) {
        const float weight = exp2f(most_of[i] - greatest);
        total += weight * sum_of[i];
        result += weight * attended_of[i][threadIdx.x];
    }
    out[static_cast<size_t>(blockIdx.y) * width + head * WIDE + threadIdx.x] = from_float<T>(result / total);
}

// ---- attention to the input ------------------------------------------------------------------------------------------------------

// What a warp knows of the positions that it has seen, for row lane / 4 and eight rows on of the beams.
struct Attended {
    float most[2], sum[2], values[WIDE / 8][4];
};

// Keys and values of 32 positions of a head, as the tensor cores take them. Of the keys each lane has a quarter of each half of a
// position's 64 values; of the values eight neighbouring ones of positions that go by pairs, so that columns come as
// 8 (lane / 4) + tile.
template <typename T> struct Positions {
    static constexpr int COUNT = 32;
    uint4 keys[COUNT / 8][2], values[COUNT / 16][4];

    __device__ __forceinline__ void fetch(const T *head, int first, int end, int width) {
        const int lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
        // An input's keys and values of a layer are fewer than 2³¹.
        const auto at = [&](int position) { return head + min(first + position, end - 1) * 2 * width; };
#pragma unroll
        for (int i = 0; i < COUNT / 8; i++)
#pragma unroll
            for (int j = 0; j < 2; j++) keys[i][j] = load_streamed(at(i * 8 + row) + j * 32 + pair * 8);
#pragma unroll
        for (int i = 0; i < COUNT / 16; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                values[i][j] = load_streamed(at(i * 16 + j / 2 * 8 + pair * 2 + j % 2) + width + row * 8);
    }

    // Adds the first `left` of these positions, at least one, to what was seen before. `queries` are [MOST_BEAMS, 64]; rows beyond
    // the beams get something that nobody reads.
    __device__ __forceinline__ void attend(const T *queries, int left, Attended &out) const {
        const int row = threadIdx.x % 32 / 4, pair = threadIdx.x % 4;
        const float factor = rsqrtf(static_cast<float>(WIDE)) * LOG2_E;
        float scores[COUNT / 8][4] = {}, most[2] = {out.most[0], out.most[1]}, sum[2] = {};
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const T *at = queries + row * WIDE + j * 32 + pair * 8;
            const uint4 top = *reinterpret_cast<const uint4 *>(at);
            const uint4 bottom = *reinterpret_cast<const uint4 *>(at + 8 * WIDE);
#pragma unroll
            for (int i = 0; i < COUNT / 8; i++) multiply_add_32<T>(scores[i], top, bottom, keys[i][j]);
        }
#pragma unroll
        for (int i = 0; i < COUNT / 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                scores[i][j] = i * 8 + pair * 2 + j % 2 < left ? scores[i][j] * factor : -INFINITY;
                most[j / 2] = fmaxf(most[j / 2], scores[i][j]);
            }
#pragma unroll
        for (int j = 0; j < 2; j++) most[j] = lane_max<4>(most[j]);
        uint32_t weights[COUNT / 8][2];
#pragma unroll
        for (int i = 0; i < COUNT / 8; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                scores[i][j] = exp2f(scores[i][j] - most[j / 2]);
                sum[j / 2] += scores[i][j];
            }
#pragma unroll
            for (int j = 0; j < 2; j++) weights[i][j] = pack2<T>(scores[i][2 * j], scores[i][2 * j + 1]);
        }
        float fading[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
            fading[j] = exp2f(out.most[j] - most[j]);
            out.sum[j] = out.sum[j] * fading[j] + lane_sum<4>(sum[j]);
            out.most[j] = most[j];
        }
#pragma unroll
        for (int tile = 0; tile < WIDE / 8; tile++) {
#pragma unroll
            for (int j = 0; j < 4; j++) out.values[tile][j] *= fading[j / 2];
#pragma unroll
            for (int i = 0; i < COUNT / 16; i++) {
                const auto both = [&](int j) {
                    return halves_of(word(values[i][j], tile / 2), word(values[i][j + 1], tile / 2), tile % 2);
                };
                multiply_add<T>(out.values[tile], weights[2 * i][0], weights[2 * i][1], weights[2 * i + 1][0], weights[2 * i + 1][1],
                                both(0), both(2));
            }
        }
    }
};

constexpr int CROSS_WARPS = 8;

// A block for each head and input, with all beams of the input, so that keys and values are read once; blocks beyond the inputs do
// nothing. Warps take 32 positions in turn, and what they found is brought together at the end: how an input is shared out does
// not depend on its company. Queries come as parts [splits, rows, heads, 64].
template <typename T>
__device__ __forceinline__ void attend_cross(const Input *inputs, const uint32_t *count, const Parts<T> &queries, T *out, int layer) {
    constexpr int COUNT = Positions<T>::COUNT;
    __shared__ float stats[CROSS_WARPS][MOST_BEAMS][2], values_of[CROSS_WARPS][MOST_BEAMS][WIDE];
    __shared__ __align__(16) T query_of[MOST_BEAMS * WIDE];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    const int head = blockIdx.x, width = gridDim.x * WIDE;
    begin_next();
    if (blockIdx.y >= *count) {
        wait_for_previous();
        return;
    }
    const Input input = inputs[blockIdx.y];
    const int beams = static_cast<int>(input.beams), positions = static_cast<int>(input.positions);
    const size_t first_row = input.first_row;
    const T *cache = reinterpret_cast<const T *>(input.cross) + head * WIDE + cross_offset(layer, 0, positions, width);
    Positions<T> own;
    own.fetch(cache, warp * COUNT, positions, width);
    wait_for_previous();
    for (int i = threadIdx.x; i < MOST_BEAMS * WIDE / 8; i += blockDim.x) {
        const int beam = i / (WIDE / 8), eighth = i % (WIDE / 8) * 8;
        float query[8] = {};
        if (beam < beams) queries.load(first_row + beam, head * WIDE + eighth, query);
        store8(query_of + beam * WIDE + eighth, query);
    }
    __syncthreads();
    Attended found = {};
    found.most[0] = found.most[1] = -INFINITY;
    for (int first = warp * COUNT; first < positions; first += CROSS_WARPS * COUNT) {
        own.attend(query_of, positions - first, found);
        if (first + CROSS_WARPS * COUNT < positions) own.fetch(cache, first + CROSS_WARPS * COUNT, positions, width);
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
        const int beam = row + j * 8;
        if (beam >= beams) continue;
        if (pair == 0) stats[warp][beam][0] = found.most[j], stats[warp][beam][1] = found.sum[j];
#pragma unroll
        for (int tile = 0; tile < WIDE / 8; tile++)
#pragma unroll
            for (int k = 0; k < 2; k++) values_of[warp][beam][(pair * 2 + k) * 8 + tile] = found.values[tile][2 * j + k];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < beams * WIDE; i += blockDim.x) {
        const int beam = i / WIDE, value = i % WIDE;
        float most = -INFINITY, total = 0.f, result = 0.f;
#pragma unroll
        for (int j = 0; j < CROSS_WARPS; j++) most = fmaxf(most, stats[j][beam][0]);
#pragma unroll
        for (int j = 0; j < CROSS_WARPS; j++) {
            const float weight = exp2f(stats[j][beam][0] - most);
            total += weight * stats[j][beam][1];
            result += weight * values_of[j][beam][value];
        }
        out[(first_row + beam) * width + head * WIDE + value] = from_float<T>(result / total);
    }
}

#define STEP_ATTENTION(SUFFIX, TYPE)                                                                                   \
    extern "C" __global__ void __launch_bounds__(128) step_own_##SUFFIX(                                               \
        const unsigned char *description, const Row *rows, const Input *inputs, const float *parts, const TYPE *bias,  \
        TYPE *out, int splits, int layer, int heads) {                                                                 \
        attend_own(description, rows, inputs, parts, bias, out, splits, layer, heads);                                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32 * CROSS_WARPS, 2) step_cross_##SUFFIX(                             \
        const Input *inputs, const uint32_t *count, const float *parts, const TYPE *bias, TYPE *out, int rows,         \
        int splits, int layer) {                                                                                       \
        const size_t width = gridDim.x * WIDE;                                                                         \
        const Parts<TYPE> queries{parts, bias, splits, static_cast<size_t>(rows), width};                              \
        attend_cross(inputs, count, queries, out, layer);                                                              \
    }
FOR_HALVES(STEP_ATTENTION)

// ---- both attentions for heads of any width, a warp for each head and row ----------------------------------------------------------

template <typename T, typename Read>
__device__ __forceinline__ void attend_any(const Read &read, const T *query, T *target, int count, int head_width) {
    const int lane = threadIdx.x;
    const float scale = rsqrtf(static_cast<float>(head_width));
    float own[LANE_VALUES], attended[LANE_VALUES] = {}, most = -INFINITY, sum = 0.f;
#pragma unroll
    for (int i = 0; i < LANE_VALUES; i++) own[i] = lane + 32 * i < head_width ? to_float(query[lane + 32 * i]) : 0.f;
    for (int key = 0; key < count; key++) {
        float score = 0.f;
#pragma unroll
        for (int i = 0; i < LANE_VALUES; i++)
            if (lane + 32 * i < head_width) score += own[i] * read(key, 0, lane + 32 * i);
        score = lane_sum<32>(score) * scale;
        const float now = fmaxf(most, score), fading = expf(most - now), weight = expf(score - now);
        sum = sum * fading + weight, most = now;
#pragma unroll
        for (int i = 0; i < LANE_VALUES; i++)
            if (lane + 32 * i < head_width) attended[i] = attended[i] * fading + weight * read(key, 1, lane + 32 * i);
    }
#pragma unroll
    for (int i = 0; i < LANE_VALUES; i++)
        if (lane + 32 * i < head_width) target[lane + 32 * i] = from_float<T>(attended[i] / sum);
}

template <typename T>
__device__ void attend_own_any(const unsigned char *description, const Row *rows, const Input *inputs, const T *qkv, T *out,
                               int layer, int heads, int head_width) {
    begin_next();
    wait_for_previous();
    const int head = blockIdx.x, width = heads * head_width;
    const Row row = rows[blockIdx.y];
    if (row.input < 0) return;
    const Input input = inputs[row.input];
    const T *own = qkv + static_cast<size_t>(blockIdx.y) * 3 * width + head * head_width;
    T *cache = reinterpret_cast<T *>(input.own) + head * head_width;
    const int length = static_cast<int>(input.length);
    const auto read = [&](int token, int part, int value) {
        if (token == length) return to_float(own[(1 + part) * width + value]);
        const int beam = description[row.ancestry + token];
        return to_float(cache[own_offset(layer, token, beam, input.capacity, input.beams, width) + part * width + value]);
    };
    attend_any(read, own, out + static_cast<size_t>(blockIdx.y) * width + head * head_width, length + 1, head_width);
    T *target = cache + own_offset(layer, length, row.beam, input.capacity, input.beams, width);
    for (int i = threadIdx.x; i < head_width; i += 32) {
        target[i] = own[width + i];
        target[width + i] = own[2 * width + i];
    }
}

template <typename T>
__device__ void attend_cross_any(const Row *rows, const Input *inputs, const T *queries, T *out, int layer, int heads,
                                 int head_width) {
    begin_next();
    wait_for_previous();
    const int head = blockIdx.x, width = heads * head_width;
    const Row row = rows[blockIdx.y];
    if (row.input < 0) return;
    const Input input = inputs[row.input];
    const T *cache = reinterpret_cast<const T *>(input.cross) + head * head_width;
    const auto read = [&](int position, int part, int value) {
        return to_float(cache[cross_offset(layer, position, input.positions, width) + part * width + value]);
    };
    const size_t at = static_cast<size_t>(blockIdx.y) * width + head * head_width;
    attend_any(read, queries + at, out + at, static_cast<int>(input.positions), head_width);
}

#define STEP_ATTENTION_ANY(SUFFIX, TYPE)                                                                               \
    extern "C" __global__ void __launch_bounds__(32) step_own_any_##SUFFIX(                                            \
        const unsigned char *description, const Row *rows, const Input *inputs, const TYPE *qkv, TYPE *out, int layer, \
        int heads, int head_width) {                                                                                   \
        attend_own_any(description, rows, inputs, qkv, out, layer, heads, head_width);                                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32) step_cross_any_##SUFFIX(                                          \
        const Row *rows, const Input *inputs, const TYPE *queries, TYPE *out, int layer, int heads, int head_width) {  \
        attend_cross_any(rows, inputs, queries, out, layer, heads, head_width);                                        \
    }
FOR_FLOATS(STEP_ATTENTION_ANY)

