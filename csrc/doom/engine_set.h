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

  bool empty() const { return engines.empty(); }
  void End();  // the engines before their ports
};

// Starts all engines of the environment whose first row is `row`; `server` may be null.
// Throws EngineError if one cannot start; then none is left.
EngineSet StartEngines(const DoomConfig& config, std::uint32_t seed, int row,
                       ForkServer* server);

// Whether all of them are ready, perhaps after waiting briefly. Throws EngineError if
// one has failed.
bool Started(EngineSet& set, DoomEngine::Wait wait);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_SET_H_
