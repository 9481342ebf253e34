#include "doom/engine_set.h"

#include <algorithm>

#include "doom/match_role.h"

namespace jaxfactory {

EngineSet StartEngines(const DoomConfig& config, std::uint32_t seed, int row,
                       ForkServer* server) {
  EngineSet set;
  set.seed = seed;
  const auto players = static_cast<std::size_t>(std::max(config.match.agents, 1));
  if (players > 1) {
    for (std::size_t i = 0; i < players; ++i) {
      set.ports.push_back(std::make_unique<UdpPort>());
    }
  }
  for (std::size_t i = 0; i < players; ++i) {
    EngineRole role = MatchRole(config.match, i, set.ports, row);
    role.server = server;
    set.engines.push_back(
        std::make_unique<DoomEngine>(config.engine, seed, std::move(role)));
  }
  return set;
}

bool Started(EngineSet& set, DoomEngine::Wait wait) {
  for (; set.started < set.engines.size(); ++set.started) {
    if (set.engines[set.started]->Poll(wait)) continue;
    // It may be waiting for one that is gone.
    for (std::size_t i = set.started + 1; i < set.engines.size(); ++i) {
      set.engines[i]->CheckAlive();
    }
    return false;
  }
  return true;
}

void EngineSet::End() {
  engines.clear();
  ports.clear();
  started = 0;
}

}  // namespace jaxfactory
