// Matrix products of bfloat16 pairs in tiles of up to 16 rows of 64 bytes, with Intel's
// AMX. One instruction multiplies two tiles and adds to a third of 16 x 16 float32
// sums: A's rows hold pairs along the axis that is summed over, and B's rows are such
// pairs of 16 columns, as they are for AVX-512-BF16.
//
// All of this needs `Instructions::kAmx`.
#ifndef JAXFACTORY_KERNELS_TILE_PRODUCTS_H_
#define JAXFACTORY_KERNELS_TILE_PRODUCTS_H_

#include <cstddef>

#include "kernels/bf16.h"

namespace jaxfactory {

// `Multiply` of bf16.h.
void MultiplyTiles(const PairProduct& product, Finish finish);

// out[i][panel * columns + j] += the sum over blocks, lines and positions of
// a[block, line, position, i] . x[block, line, position, panel, j].
//
// `a` consists of tiles, 16 pairs in each row: [blocks, lines, chunks, rows, 16] for
// the `Chunks` of the positions; those that a chunk repeats are 0. `rows` is a multiple
// of 16. Distances in x are in pairs.
struct TileSum {
  const Pair* a;
  const Pair* x;
  float* out;
  int blocks, lines, positions, rows, panels, columns;
  std::ptrdiff_t x_block, x_line, x_position, x_panel, out_row;
};
void AddTiles(const TileSum& sum);

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_TILE_PRODUCTS_H_
