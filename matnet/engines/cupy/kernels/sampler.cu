// Bilinear interpolation at grid points, zero outside the image (vl_nnbilinearsampler).

// The first of the two pixels around a position in [-1, 1], and both weights; either may be outside the image.
struct Neighbours {
    int first;
    float weight[2];
};

__device__ __forceinline__ Neighbours around(float position, float half, int size) {
    const float place = (position + 1.0f) * half, below = floorf(place);
    Neighbours found = {0, {0.0f, 0.0f}};
    if (below >= -1.0f && below <= (float)(size - 1)) {  // false for NaN as well
        found.first = (int)below;
        found.weight[0] = 1.0f - (place - below);
        found.weight[1] = place - below;
    }
    return found;
}

// The grid is No x Wo x 2 x Ho. One thread per V channels of a point.
template <typename S, typename T, int V, typename I>
__global__ void sample(const S* __restrict__ x, const float* __restrict__ grid, T* __restrict__ out, I total, int groups,
                       int height, int width, int out_height, int out_width,
                       I grids_per_image, float half_height, float half_width) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const I place = i / groups;
        const int column = (int)(place % out_width), row = (int)(place / out_width % out_height);
        const I point = place / out_width / out_height, image = point / grids_per_image;
        const int group = (int)(i % groups);
        const float* position = grid + (point * out_width + column) * 2 * out_height + row;
        const Neighbours down = around(position[0], half_height, height);
        const Neighbours across = around(position[out_height], half_width, width);
        float result[V];
        fill(result, 0.0f);
#pragma unroll
        for (int u = 0; u < 2; ++u) {
#pragma unroll
            for (int v = 0; v < 2; ++v) {
                const int r = down.first + u, c = across.first + v;
                if (r < 0 || r >= height || c < 0 || c >= width) continue;
                const float weight = down.weight[u] * across.weight[v];
                float values[V];
                load(values, x + (((image * height + r) * width + c) * groups + group) * V);
#pragma unroll
                for (int k = 0; k < V; ++k) result[k] += values[k] * weight;
            }
        }
        store(out + i * V, result);
    }
}
