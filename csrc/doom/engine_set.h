// The engines of one environment, which start and end together.
#ifndef JAXFACTORY_DOOM_ENGINE_SET_H_
#define JAXFACTORY_DOOM_ENGINE_SET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "doom/config.h"
#include "doom/engine/doom_engine.h"
#include "doom/engine/udp_port.h"

namespace jaxfactory {

struct EngineSet {
  std::uint32_t seed = 0;                            // of the games
  std::vector<std::unique_ptr<UdpPort>> ports;       // of a match's engines
  std::vector<std::unique_ptr<DoomEngine>> engines;  // the first one hosts
  std::size_t started = 0;                           // the first so many are ready
};

// Starts all engines of the environment whose first row is `row`; `server` may be null.
// Throws EngineError if one cannot start; then none is left.
EngineSet StartEngines(const DoomConfig& config, std::uint32_t seed, int row,
                       ForkServer* server);

// Counts further engines as started, without waiting for them. Throws EngineError if
// the next one has failed.
void LookForStarts(EngineSet& set);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_SET_H_
