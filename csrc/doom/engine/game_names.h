// Names of the engine's buttons and game variables, in the order of its enums.
#ifndef JAXFACTORY_DOOM_ENGINE_GAME_NAMES_H_
#define JAXFACTORY_DOOM_ENGINE_GAME_NAMES_H_

#include <string>

#include "doom/engine/engine_protocol.h"

namespace jaxfactory {

// Index of a button ("MOVE_FORWARD") in the input region, or -1 if there is none.
int ButtonIndex(const std::string& name);

// Index of a game variable ("HEALTH"), or -1 if there is none.
int VariableIndex(const std::string& name);

// Value of a game variable in `state`; `index` comes from `VariableIndex`.
double ReadVariable(const protocol::GameState& state, int index);

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_GAME_NAMES_H_
