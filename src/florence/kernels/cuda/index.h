/* Where things lie. Plain C, so that the same functions are compiled for the device and, by the tests, for the CPU. */
#pragma once

#ifdef __CUDACC__
#define INDEX __host__ __device__ __forceinline__
#else
#define INDEX static inline
#endif

/* Pixel `pixel` of window `window` of a map: its index in the map, or -1 for padding. Windows are counted over the batch,
 * then by rows; their pixels by rows. */
INDEX int window_pixel(int window, int pixel, int side, int height, int width) {
    const int columns = (width + side - 1) / side, rows = (height + side - 1) / side;
    const int batch = window / (rows * columns), place = window % (rows * columns);
    const int y = place / columns * side + pixel / side, x = place % columns * side + pixel % side;
    return y < height && x < width ? (batch * height + y) * width + x : -1;
}

/* Windows of a batch of maps. */
INDEX int window_count(int batch, int side, int height, int width) {
    return batch * ((width + side - 1) / side) * ((height + side - 1) / side);
}

/* Row or column `tap` of the patch at `place`: where it lies in the map, or -1 for padding. */
INDEX int patch_source(int place, int tap, int stride, int padding, int size) {
    const int at = place * stride + tap - padding;
    return at >= 0 && at < size ? at : -1;
}

/* First value of a token in an input's own cache `[layers, capacity, beams, 2 width]`. */
INDEX long long own_offset(int layer, int token, int beam, int capacity, int beams, int width) {
    return (((long long)layer * capacity + token) * beams + beam) * 2 * width;
}

/* First value of a position in an input's cross cache `[layers, positions, 2 width]`. */
INDEX long long cross_offset(int layer, int position, int positions, int width) {
    return ((long long)layer * positions + position) * 2 * width;
}

/* Of `count` things in chunks of `size`, those of chunk `chunk` end here. */
INDEX int chunk_end(int chunk, int size, int count) {
    const int end = (chunk + 1) * size;
    return end < count ? end : count;
}

INDEX int chunks(int count, int size) { return (count + size - 1) / size; }
