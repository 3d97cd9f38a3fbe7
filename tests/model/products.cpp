// Products with quantised weights of random blocks, by one instruction set's kernels: what a strip holds is what
// `take` says, and a row is the same to the bit whatever runs beside it. For machines that run no Python of theirs.
#include <cstdio>
#include <random>

#include "model.h"

using namespace DYNEXIT_ISA;

namespace {

constexpr int kWidth = 512, kOutputs = 109, kRows = 19;
std::mt19937 random_bits(1);

float next() { return float(random_bits() % 2001) / 1000.0f - 1.0f; }

// A row of random blocks. Wherever a format has halves, they are numbers below 1, since two bits of each byte are 0.
std::vector<uint8_t> random_row(size_t bytes) {
    std::vector<uint8_t> row(bytes);
    for (uint8_t& byte : row) byte = uint8_t(random_bits() & 0xBB);
    return row;
}

bool check(int type) {
    const Codec& codec = *find_codec(type);
    std::vector<std::vector<uint8_t>> rows;
    for (int i = 0; i < kOutputs; ++i) rows.push_back(random_row(codec.row_bytes(kWidth)));
    Quantised matrix;
    Arena arena;
    const int groups = (kOutputs + kGroup - 1) / kGroup;
    const auto output = [&](int o) { return Quantised::Output{o < kOutputs ? rows[o].data() : nullptr, &codec}; };
    matrix.pack(groups, kWidth, output, [] {}, arena, 2);
    const size_t stride = spaced(kWidth);
    std::vector<float> x(kRows * stride), values(kWidth);
    for (float& value : x) value = next();
    std::vector<double> exact(kRows * kOutputs), sizes(kOutputs);
    for (int o = 0; o < kOutputs; ++o) {
        matrix.take(o, values.data());
        for (int i = 0; i < kWidth; ++i) sizes[o] += std::fabs(values[i]);
        for (int r = 0; r < kRows; ++r)
            for (int i = 0; i < kWidth; ++i) exact[r * kOutputs + o] += double(values[i]) * x[r * stride + i];
    }
    for (int r = 0; r < kRows; ++r) quantise_inputs(&x[r * stride], kWidth);
    std::vector<float> alone(kRows * groups * kGroup), together(alone);
    const auto product = [&](int first, int count, std::vector<float>& to) {
        matrix.times(&x[first * stride], count, 0, groups, [&](int row, int vector, Floats sums) {
            store(&to[(first + row) * groups * kGroup + vector * kLanes], sums);
        });
    };
    for (int r = 0; r < kRows; ++r) product(r, 1, alone);
    product(0, kRows, together);
    bool right = std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)) == 0;
    for (int r = 0; r < kRows; ++r)
        for (int o = 0; o < kOutputs; ++o)  // an input is off by half a step of its block at most
            right &= std::fabs(alone[r * groups * kGroup + o] - exact[r * kOutputs + o]) <= 4e-3 * sizes[o];
    return right;
}

}  // namespace

int main() {
    int wrong = 0;
    for (int type : {2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 4032, 4064, 4128, 8032, 8064, 8128})
        if (!check(type)) std::printf("type %d is wrong\n", ++wrong ? type : 0);
    return wrong;
}
