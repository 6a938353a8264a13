// N x C x H x W to N x H x W x C and back, from one storage type to another.

// rows x columns of each image become kept_columns x new_rows: columns beyond kept_columns are dropped, rows beyond
// `rows` are zero. Tiles of 32 x 32 go through shared memory with rows of 33, to avoid bank conflicts.
template <typename S, typename T, typename I>
__global__ void transpose(const S* __restrict__ x, T* __restrict__ out, I tiles, I rows, I columns, I kept_columns,
                          I new_rows) {
    __shared__ float tile[32][33];
    const I across = (kept_columns + 31) / 32, down = (new_rows + 31) / 32;
    for (I t = blockIdx.x; t < tiles; t += gridDim.x) {
        const I image = t / across / down, left = t % across * 32, top = t / across % down * 32;
        for (int k = threadIdx.y; k < 32; k += 8) {
            const I row = top + k, column = left + threadIdx.x;
            const bool inside = row < rows && column < columns;
            tile[k][threadIdx.x] = inside ? to_float(x[(image * rows + row) * columns + column]) : 0.0f;
        }
        __syncthreads();
        for (int k = threadIdx.y; k < 32; k += 8) {
            const I row = top + threadIdx.x, column = left + k;
            if (row < new_rows && column < kept_columns)
                set(out[(image * kept_columns + column) * new_rows + row], tile[threadIdx.x][k]);
        }
        __syncthreads();
    }
}

// Few channels: each thread moves all channels of a pixel, so that planes are accessed in order.
template <typename S, typename T, bool TO_LAST, typename I>
__global__ void transpose_few(const S* __restrict__ x, T* __restrict__ out, I pixels, I plane, int channels,
                              int new_channels) {
    for (I i = first_index<I>(); i < pixels; i += index_step<I>()) {
        const I image = i / plane, place = i % plane;
        for (int c = 0; c < new_channels; ++c) {
            const I from = TO_LAST ? (image * channels + c) * plane + place : i * channels + c;
            const I to = TO_LAST ? i * new_channels + c : (image * new_channels + c) * plane + place;
            set(out[to], c < channels ? to_float(x[from]) : 0.0f);
        }
    }
}
