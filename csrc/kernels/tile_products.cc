#include "kernels/tile_products.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/chunks.h"
#include "kernels/target.h"

#ifdef JAXFACTORY_HAS_AMX

#include <immintrin.h>

#ifdef JAXFACTORY_SOFTWARE_TILES
#include "tests/software_tiles.h"
#endif

JAXFACTORY_BEGIN_AMX

#include "kernels/bf16_vectors.h"
#ifndef JAXFACTORY_SOFTWARE_TILES
#include "kernels/tiles.h"
#endif

namespace jaxfactory {
namespace {

// Up to 2 x 2 tiles of sums need 2 tiles each of A and of B in every step, so that
// there is one load for each product. These are where the tiles of a step begin; a
// second one that is not used is null.
struct Step {
  const void* a[2];
  const Pair* b[2];
};

// `kRows` x `kColumns` sums in tiles.
template <int kRows, int kColumns>
struct Sums {
  std::ptrdiff_t a_stride, b_stride;  // of rows, in bytes

  JAXFACTORY_INLINE void Zero() const {
    tiles::Zero<0, 0>();
    if constexpr (kColumns == 2) tiles::Zero<0, 1>();
    if constexpr (kRows == 2) tiles::Zero<1, 0>();
    if constexpr (kRows == 2 && kColumns == 2) tiles::Zero<1, 1>();
  }

  JAXFACTORY_INLINE void Add(const Step& step) const {
    tiles::LoadA<0>(step.a[0], a_stride);
    tiles::LoadB<0>(step.b[0], b_stride);
    tiles::Multiply<0, 0>();
    if constexpr (kColumns == 2) {
      tiles::LoadB<1>(step.b[1], b_stride);
      tiles::Multiply<0, 1>();
    }
    if constexpr (kRows == 2) {
      tiles::LoadA<1>(step.a[1], a_stride);
      tiles::Multiply<1, 0>();
    }
    if constexpr (kRows == 2 && kColumns == 2) tiles::Multiply<1, 1>();
  }

  // at(i, j) is where the tile of sums i, j begins.
  template <typename At>
  JAXFACTORY_INLINE void Load(At&& at, std::ptrdiff_t stride) const {
    tiles::Load<0, 0>(at(0, 0), stride);
    if constexpr (kColumns == 2) tiles::Load<0, 1>(at(0, 1), stride);
    if constexpr (kRows == 2) tiles::Load<1, 0>(at(1, 0), stride);
    if constexpr (kRows == 2 && kColumns == 2) tiles::Load<1, 1>(at(1, 1), stride);
  }

  template <typename At>
  JAXFACTORY_INLINE void Store(At&& at, std::ptrdiff_t stride) const {
    tiles::Store<0, 0>(at(0, 0), stride);
    if constexpr (kColumns == 2) tiles::Store<0, 1>(at(0, 1), stride);
    if constexpr (kRows == 2) tiles::Store<1, 0>(at(1, 0), stride);
    if constexpr (kRows == 2 && kColumns == 2) tiles::Store<1, 1>(at(1, 1), stride);
  }
};

// A tile's rows of A, and the rows of the result that are written from it.
struct RowTile {
  const Bf16* a;
  std::ptrdiff_t line, row;  // of the result, the first that is written
  int skipped, rows;
};

// Tiles of A's rows are read where they are, because rows of a line are at one distance
// from each other. Two tiles may be of different lines.
class RowTiles {
 public:
  explicit RowTiles(const PairProduct& p)
      : p_(p),
        joined_(p.lines == 1 || p.a_line == p.rows * p.a_row),
        chunks_(joined_ ? p.lines * p.rows : p.rows) {}

  int count() const { return (joined_ ? 1 : p_.lines) * chunks_.count(); }
  int rows() const { return chunks_.size(); }

  RowTile At(int tile) const {
    const int line = tile / chunks_.count(), chunk = tile % chunks_.count();
    const int start = chunks_.Start(chunk), skipped = chunks_.Repeated(chunk);
    const std::ptrdiff_t first = start + skipped;
    return {p_.a + line * p_.a_line + start * p_.a_row,
            joined_ ? first / p_.rows : line, joined_ ? first % p_.rows : first,
            skipped, chunks_.size()};
  }

 private:
  const PairProduct& p_;
  bool joined_;
  Chunks chunks_;
};

constexpr int kSumsOfTile = kTileRows * kTileRows;

// Finishes the sums of the rows of a tile; `out` is the place of their first column.
template <Finish kFinish, int kColumns>
void Write(const PairProduct& p, const RowTile& tile, const float* sums, char* out,
           const float* bias) {
  std::ptrdiff_t line = tile.line, row = tile.row;
  for (int i = tile.skipped; i < tile.rows; ++i) {
    char* at = out + (line * p.out_line + row * p.out_row) * kBytes<kFinish>;
    JAXFACTORY_UNROLL
    for (int v = 0; v < kColumns; ++v) {
      // Rows may overlap where they are added to, so they are finished in turn.
      Put<kFinish>(_mm512_load_ps(sums + v * kSumsOfTile + i * kTileRows), at, bias, v);
    }
    if (++row == p.rows) {
      row = 0;
      ++line;
    }
  }
}

template <Finish kFinish, int kRows, int kColumns>
void MultiplyBlock(const PairProduct& p, const RowTile* rows, const Pair* b, char* out,
                   const float* bias) {
  const int pairs = ExactChunk(p.pairs);
  const Sums<kRows, kColumns> tiles{p.a_row * 2, p.b_row * 4};
  tiles.Zero();
  for (int segment = 0; segment < p.segments; ++segment) {
    const std::ptrdiff_t start = segment * p.a_segment;
    for (int pair = 0; pair < p.pairs; pair += pairs) {
      const std::ptrdiff_t at = start + 2 * pair;
      tiles.Add({{rows[0].a + at, kRows == 2 ? rows[1].a + at : nullptr},
                 {b, kColumns == 2 ? b + kTileRows : nullptr}});
      b += pairs * p.b_row;
    }
  }
  alignas(64) float sums[kRows][kColumns * kSumsOfTile];
  tiles.Store([&](int i, int j) { return sums[i] + j * kSumsOfTile; }, 64);
  JAXFACTORY_UNROLL
  for (int i = 0; i < kRows; ++i) {
    Write<kFinish, kColumns>(p, rows[i], sums[i], out, bias);
  }
}

template <Finish kFinish>
void MultiplyAll(const PairProduct& p) {
  const RowTiles tiles(p);
  const tiles::Configuration configuration(tiles.rows(), ExactChunk(p.pairs),
                                           kTileRows);
  for (int tile = 0; tile < tiles.count(); tile += 2) {
    const bool both = tile + 1 < tiles.count();
    const RowTile rows[2] = {tiles.At(tile), both ? tiles.At(tile + 1) : RowTile{}};
    for (int panel = 0; panel < p.panels; ++panel) {
      for (int column = 0; column < p.columns; column += 2 * kTileRows) {
        const bool wide = column + kTileRows < p.columns;
        const Pair* b = p.b + panel * p.b_panel + column;
        const float* bias = p.bias == nullptr ? nullptr : p.bias + column;
        char* out = static_cast<char*>(p.out) +
                    (panel * p.out_panel + column) * kBytes<kFinish>;
        if (both) {
          wide ? MultiplyBlock<kFinish, 2, 2>(p, rows, b, out, bias)
               : MultiplyBlock<kFinish, 2, 1>(p, rows, b, out, bias);
        } else {
          wide ? MultiplyBlock<kFinish, 1, 2>(p, rows, b, out, bias)
               : MultiplyBlock<kFinish, 1, 1>(p, rows, b, out, bias);
        }
      }
    }
  }
}

template <int kRows, int kColumns>
void AddBlock(const TileSum& p, const Pair* a, const Pair* x, float* out, int columns) {
  const Chunks chunks(p.positions);
  const std::ptrdiff_t chunk_size = std::ptrdiff_t{kTileRows} * p.rows;
  const Sums<kRows, kColumns> tiles{kTileRows * 4, p.x_position * 4};
  const auto at = [&](int i, int j) {
    return out + i * kTileRows * p.out_row + j * columns;
  };
  tiles.Load(at, p.out_row * 4);
  for (int block = 0; block < p.blocks; ++block) {
    for (int line = 0; line < p.lines; ++line) {
      const Pair* from = x + block * p.x_block + line * p.x_line;
      for (int chunk = 0; chunk < chunks.count(); ++chunk, a += chunk_size) {
        const Pair* b = from + chunks.Start(chunk) * p.x_position;
        tiles.Add({{a, kRows == 2 ? a + kSumsOfTile : nullptr},
                   {b, kColumns == 2 ? b + columns : nullptr}});
      }
    }
  }
  tiles.Store(at, p.out_row * 4);
}

}  // namespace

void MultiplyTiles(const PairProduct& product, Finish finish) {
  switch (finish) {
    case Finish::kStore:
      return MultiplyAll<Finish::kStore>(product);
    case Finish::kAdd:
      return MultiplyAll<Finish::kAdd>(product);
    case Finish::kBias:
      return MultiplyAll<Finish::kBias>(product);
    case Finish::kIdentity:
      return MultiplyAll<Finish::kIdentity>(product);
    case Finish::kElu:
      return MultiplyAll<Finish::kElu>(product);
    case Finish::kRelu:
      return MultiplyAll<Finish::kRelu>(product);
    case Finish::kTanh:
      return MultiplyAll<Finish::kTanh>(product);
  }
}

void AddTiles(const TileSum& p) {
  const int columns = ExactChunk(p.columns);
  const tiles::Configuration configuration(kTileRows, Chunks(p.positions).size(),
                                           columns);
  for (int panel = 0; panel < p.panels; ++panel) {
    for (int column = 0; column < p.columns; column += 2 * columns) {
      const bool wide = column + columns < p.columns;
      const Pair* x = p.x + panel * p.x_panel + column;
      for (int row = 0; row < p.rows; row += 2 * kTileRows) {
        const bool both = row + kTileRows < p.rows;
        const Pair* a = p.a + std::ptrdiff_t{row} * kTileRows;
        float* out = p.out + row * p.out_row + panel * p.columns + column;
        if (both) {
          wide ? AddBlock<2, 2>(p, a, x, out, columns)
               : AddBlock<2, 1>(p, a, x, out, columns);
        } else {
          wide ? AddBlock<1, 2>(p, a, x, out, columns)
               : AddBlock<1, 1>(p, a, x, out, columns);
        }
      }
    }
  }
}

}  // namespace jaxfactory

JAXFACTORY_END_AMX

#else  // Not called: there is no `Instructions::kAmx`.

namespace jaxfactory {

void MultiplyTiles(const PairProduct&, Finish) {}
void AddTiles(const TileSum&) {}

}  // namespace jaxfactory

#endif  // JAXFACTORY_HAS_AMX
