// Normalization across channels: x (kappa + alpha sum x^2)^-beta over BELOW channels before and ABOVE after.

template <bool ROOTS> __device__ __forceinline__ float normalized(float x, float sum, float alpha, float kappa, float beta) {
    const float base = kappa + alpha * sum;
    if (ROOTS) {  // beta 0.75: square roots are exact and faster than a power
        const float root = sqrtf(base);
        return x * (1.0f / (root * sqrtf(root)));
    }
    return x * powf(base, -beta);
}

// Each thread processes V channels of a pixel, and reads neighbouring channels from the L1 cache.
template <typename S, typename T, int V, int BELOW, int ABOVE, bool ROOTS, typename I>
__global__ void lrn(const S* __restrict__ x, T* __restrict__ out, I total, int groups, float alpha, float kappa,
                    float beta) {
    constexpr int LEFT = (BELOW + V - 1) / V, RIGHT = (ABOVE + V - 1) / V;
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const int group = (int)(i % groups);
        float square[LEFT + 1 + RIGHT][V], own[V];
#pragma unroll
        for (int g = -LEFT; g <= RIGHT; ++g) {
            float values[V];
            fill(values, 0.0f);
            if (group + g >= 0 && group + g < groups) load(values, x + (i + g) * V);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                square[LEFT + g][v] = values[v] * values[v];
                if (g == 0) own[v] = values[v];
            }
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            float sum = 0.0f;
#pragma unroll
            for (int k = -BELOW; k <= ABOVE; ++k) sum += square[(LEFT * V + v + k) / V][(LEFT * V + v + k) % V];
            own[v] = normalized<ROOTS>(own[v], sum, alpha, kappa, beta);
        }
        store(out + i * V, own);
    }
}

// Windows too long for registers: each thread sums its window from the caches.
template <typename S, typename T, bool ROOTS, typename I>
__global__ void lrn_long(const S* __restrict__ x, T* __restrict__ out, I total, int channels, int below, int above,
                         float alpha, float kappa, float beta) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const int channel = (int)(i % channels);
        const int low = at_most(below, channel), high = at_most(above, channels - 1 - channel);
        float sum = 0.0f;
        for (int k = -low; k <= high; ++k) {
            const float value = to_float(x[i + k]);
            sum += value * value;
        }
        set(out[i], normalized<ROOTS>(to_float(x[i]), sum, alpha, kappa, beta));
    }
}
