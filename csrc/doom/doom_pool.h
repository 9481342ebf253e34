// A pool of Doom environments.
#ifndef JAXFACTORY_DOOM_DOOM_POOL_H_
#define JAXFACTORY_DOOM_DOOM_POOL_H_

#include <memory>
#include <vector>

#include "doom/config.h"
#include "pool/env_pool.h"

namespace jaxfactory {

// What a pool needs to know of Doom environments; `config` outlives the pool.
EnvKind DoomKind(const DoomConfig& config);

// Sets the cores of the matches' engines where a core would lie idle if all engines of
// a match ran on their worker's core.
void SpreadEngines(const PoolConfig& pool, DoomConfig* config);

// Process ids of the engines, row after row; 0 where none runs.
std::vector<int> EnginePids(const EnvPool& pool);
// Whether each row's engine has its screen loop replaced.
std::vector<bool> TunedEngines(const EnvPool& pool);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_DOOM_POOL_H_
