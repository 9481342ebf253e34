// The settings that make an engine the host or a guest of a match.
#ifndef JAXFACTORY_DOOM_MATCH_ROLE_H_
#define JAXFACTORY_DOOM_MATCH_ROLE_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "doom/config.h"
#include "doom/engine/doom_engine.h"
#include "doom/engine/udp_port.h"

namespace jaxfactory {

// The role of the player with index `player`, 0 for the host. `ports` has a port for
// each player, or is empty in single player; `row` is the match's first in the pool.
EngineRole MatchRole(const MatchConfig& match, std::size_t player,
                     const std::vector<std::unique_ptr<UdpPort>>& ports, int row);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_MATCH_ROLE_H_
