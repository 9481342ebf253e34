// A pool of Doom environments.
#ifndef JAXFACTORY_DOOM_DOOM_POOL_H_
#define JAXFACTORY_DOOM_DOOM_POOL_H_

#include <memory>
#include <span>
#include <vector>

#include "doom/config.h"
#include "pool/env_pool.h"

namespace jaxfactory {

// The pool's description of Doom environments; `config` must outlive the pool.
EnvKind DoomKind(const DoomConfig& config);

// Assigns cores to the engines of matches if a core would be idle with all engines of a
// match on their worker's core.
void SpreadEngines(const PoolConfig& pool, DoomConfig* config);

// Weighs the shaping of a row of the pool; see `ShapingReward::Weigh`. Throws
// std::logic_error while the row's group is stepping.
void WeighShaping(EnvPool& pool, int row, std::span<const double> weights);

// Process ids of the engines, in the order of rows; 0 if none runs.
std::vector<int> EnginePids(const EnvPool& pool);
// Whether the screen loop of each row's engine is replaced.
std::vector<bool> TunedEngines(const EnvPool& pool);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_DOOM_POOL_H_
