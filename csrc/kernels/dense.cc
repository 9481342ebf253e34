#include "kernels/dense.h"

#include <algorithm>
#include <cstddef>

#include "kernels/bf16_rows.h"
#include "kernels/blocks.h"
#include "kernels/chunks.h"
#include "kernels/instructions.h"
#include "kernels/tile_products.h"

namespace jaxfactory {

PairProduct RowsBy(const Bf16* a, int rows, int inner, const Pair* matrix, int outer) {
  PairProduct product{};
  product.a = a;
  product.lines = 1;
  product.rows = rows;
  product.a_row = inner;
  product.segments = 1;
  product.pairs = inner / 2;
  product.b = matrix;
  product.panels = 1;
  product.columns = outer;
  product.b_row = outer;
  product.out_row = outer;
  return product;
}

void DenseForward(const DenseShape& shape, const Bf16* x, const float* kernel,
                  const float* bias, Finish finish, Range rows, Range columns,
                  void* out) {
  const bool wide = finish <= Finish::kBias;  // float32
  const int width = columns.end - columns.begin;
  ScratchArray<Pair> packed(static_cast<std::size_t>(shape.inputs / 2 * width));
  for (int k = 0; k < shape.inputs; k += 2) {
    const float* from = kernel + At(k, shape.outputs) + columns.begin;
    InterleaveFloats(from, from + shape.outputs, width,
                     packed.data() + At(k / 2, width));
  }
  const std::ptrdiff_t at = At(rows.begin, shape.outputs) + columns.begin;
  PairProduct product = RowsBy(x + At(rows.begin, shape.inputs), rows.end - rows.begin,
                               shape.inputs, packed.data(), width);
  product.out = wide ? static_cast<void*>(static_cast<float*>(out) + at)
                     : static_cast<void*>(static_cast<Bf16*>(out) + at);
  product.out_row = shape.outputs;
  product.bias = bias + columns.begin;
  Multiply(product, finish);
}

void DenseInputGradient(const DenseShape& shape, const Bf16* errors,
                        const float* kernel, Range columns, float* out) {
  const int width = columns.end - columns.begin;
  ScratchArray<Pair> packed(static_cast<std::size_t>(shape.outputs / 2 * width));
  for (int k = 0; k < width; k += kPairLanes) {
    TransposePairs(kernel + At(columns.begin + k, shape.outputs), shape.outputs,
                   shape.outputs / 2, packed.data() + k, width);
  }
  PairProduct product = RowsBy(errors, shape.rows, shape.outputs, packed.data(), width);
  product.out = out + columns.begin;
  product.out_row = shape.inputs;
  Multiply(product, Finish::kStore);
}

DenseKernelGradient::DenseKernelGradient(const DenseShape& shape, const Bf16* x,
                                         const Bf16* errors)
    : shape_(shape),
      x_(x),
      errors_(errors),
      panels_(static_cast<std::size_t>(pairs()) *
              static_cast<std::size_t>(parts() * kPanel)) {}

int DenseKernelGradient::columns(int part) const {
  return std::min(kPanel, shape_.outputs - part * kPanel);
}

void DenseKernelGradient::Prepare(int part) {
  Pair* panel = panels_.data() + At(part, kPanel) * pairs();
  for (int pair = 0; pair < pairs(); ++pair) {
    const Bf16* first = errors_ + At(2 * pair, shape_.outputs) + part * kPanel;
    const Bf16* second = 2 * pair + 1 < shape_.rows ? first + shape_.outputs : nullptr;
    Interleave(first, second, columns(part), panel + At(pair, kPanel));
  }
}

void DenseKernelGradient::Compute(Range inputs, float* out) const {
  float* to = out + At(inputs.begin, shape_.outputs);
  std::fill_n(to, At(inputs.end - inputs.begin, shape_.outputs), 0.0F);
  if (BestInstructions() >= Instructions::kAmx) {
    ComputeTiles(inputs, to);
  } else {
    ComputeRows(inputs, to);
  }
}

void DenseKernelGradient::ComputeRows(Range inputs, float* to) const {
  const int length = inputs.end - inputs.begin;
  ScratchArray<Pair> packed(static_cast<std::size_t>(length) *
                            static_cast<std::size_t>(pairs()));
  for (int pair = 0; pair < pairs(); ++pair) {
    const Bf16* first = x_ + At(2 * pair, shape_.inputs) + inputs.begin;
    const Bf16* second = 2 * pair + 1 < shape_.rows ? first + shape_.inputs : nullptr;
    Interleave(first, second, length, packed.data() + At(pair, length));
  }
  PairOuterSum sum{};
  sum.blocks = 1;
  sum.rows = 1;
  sum.columns = pairs();
  sum.x_column = length;
  sum.dy_column = kPanel;
  sum.out_row = shape_.outputs;
  for (int part = 0; part < parts(); ++part) {
    const int vectors = columns(part) / kPairLanes;
    sum.dy = panels_.data() + At(part, kPanel) * pairs();
    for (int j = 0; j < length;) {
      const int rows = OuterRows(length - j, vectors);
      sum.x = packed.data() + j;
      sum.out = to + At(j, shape_.outputs) + part * kPanel;
      AddOuter(sum, rows, vectors);
      j += rows;
    }
  }
}

void DenseKernelGradient::ComputeTiles(Range inputs, float* to) const {
  // Tiles want rows along the axis that is summed over, so x is transposed, and the
  // sums are where they belong.
  const int length = inputs.end - inputs.begin;
  const Chunks chunks(pairs());
  const std::ptrdiff_t tiles = At(length, kTileRows);
  ScratchArray<Pair> packed(static_cast<std::size_t>(chunks.count() * tiles));
  for (int chunk = 0; chunk < chunks.count(); ++chunk) {
    const int start = chunks.Start(chunk);
    const Bf16* first = x_ + At(2 * start, shape_.inputs) + inputs.begin;
    const int seconds = std::min(chunks.size(), shape_.rows / 2 - start);
    InterleaveTransposed(first, first + shape_.inputs, At(2, shape_.inputs),
                         chunks.Repeated(chunk), chunks.size(), seconds, length,
                         packed.data() + chunk * tiles);
  }
  TileSum sum{};
  sum.a = packed.data();
  sum.blocks = 1;
  sum.lines = 1;
  sum.positions = pairs();
  sum.rows = length;
  sum.panels = 1;
  sum.x_position = kPanel;
  sum.out_row = shape_.outputs;
  for (int part = 0; part < parts(); ++part) {
    sum.x = panels_.data() + At(part, kPanel) * pairs();
    sum.out = to + part * kPanel;
    sum.columns = columns(part);
    AddTiles(sum);
  }
}

}  // namespace jaxfactory
