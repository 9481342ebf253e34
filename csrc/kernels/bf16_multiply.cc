// Products of matrices in blocks of rows whose sums fit into registers.
#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/bf16_rows.h"
#include "kernels/blocks.h"
#include "kernels/instructions.h"
#include "kernels/tile_products.h"

namespace jaxfactory {
namespace {

void MultiplyInRows(const PairProduct& p, Finish finish) {
  const std::ptrdiff_t bytes = finish <= Finish::kBias ? 4 : 2;
  RowsProduct rows{};
  rows.segments = p.segments;
  rows.pairs = p.pairs;
  rows.segment_stride = p.a_segment;
  rows.ldb = p.b_row;
  const auto block = [&](int start, int count) {
    std::ptrdiff_t line = start / p.rows, row = start % p.rows;
    for (int i = 0; i < count; ++i) {
      rows.a[i] = p.a + line * p.a_line + row * p.a_row;
      rows.out[i] =
          static_cast<char*>(p.out) + (line * p.out_line + row * p.out_row) * bytes;
      if (++row == p.rows) {
        row = 0;
        ++line;
      }
    }
    for (int panel = 0; panel < p.panels; ++panel) {
      ForVectors(p.columns, kPairLanes, [&](int column, int vectors) {
        rows.b = p.b + panel * p.b_panel + column;
        if (p.bias != nullptr) rows.bias = p.bias + column;
        rows.out_offset = (panel * p.out_panel + column) * bytes;
        MultiplyRows(rows, count, vectors, finish);
      });
    }
  };
  const int total = p.lines * p.rows;
  if (finish == Finish::kAdd) {
    ForParts(total, kPairRows, block);
  } else {
    ForBlocks(total, kPairRows, block);
  }
}

}  // namespace

void Multiply(const PairProduct& product, Finish finish) {
  if (BestInstructions() >= Instructions::kAmx) {
    MultiplyTiles(product, finish);
  } else {
    MultiplyInRows(product, finish);
  }
}

}  // namespace jaxfactory
