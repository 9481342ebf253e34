#include "doom/match_role.h"

#include <string>
#include <utility>

namespace jaxfactory {
namespace {

using Ports = std::vector<std::unique_ptr<UdpPort>>;

std::vector<std::string> Arguments(const MatchConfig& match, std::size_t player,
                                   const Ports& ports) {
  if (match.agents == 0) return {};
  std::vector<std::string> words;
  if (player == 0) {
    words = {"-host", std::to_string(match.agents)};
    if (!ports.empty()) {
      words.insert(words.end(), {"-port", std::to_string(ports[0]->number())});
    }
    words.insert(words.end(), match.rules.begin(), match.rules.end());
  } else {
    words = {"-join", "127.0.0.1:" + std::to_string(ports[0]->number())};
  }
  if (!ports.empty()) {
    // Every engine sends to every other one: input sent through the host would arrive
    // two tics late. Before the first tic guests wait without need: for a second, or
    // for the milliseconds given here.
    words.insert(words.end(), {"-netmode", "0", "+viz_sync_timeout", "10"});
  }
  words.insert(words.end(), {"+name", "Agent" + std::to_string(player + 1), "+colorset",
                             std::to_string(player % 8)});
  return words;
}

}  // namespace

EngineRole MatchRole(const MatchConfig& match, std::size_t player, const Ports& ports,
                     int row) {
  EngineRole role;
  role.arguments = Arguments(match, player, ports);
  if (!match.cores.empty()) {
    role.core =
        match.cores[(static_cast<std::size_t>(row) + player) % match.cores.size()];
  }
  if (!ports.empty()) {
    // Its own port first, then those of the other engines; see match_preload.cc.
    std::string numbers = "JAXFACTORY_MATCH_PORTS=";
    numbers += std::to_string(ports[player]->number());
    for (const auto& port : ports) {
      numbers.append(",").append(std::to_string(port->number()));
    }
    role.environment.push_back(std::move(numbers));
  }
  return role;
}

}  // namespace jaxfactory
