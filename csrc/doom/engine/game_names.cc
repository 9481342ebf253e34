#include "doom/engine/game_names.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace jaxfactory {
namespace {

constexpr std::array<std::string_view, protocol::kButtons> kButtonNames = {
    "ATTACK",
    "USE",
    "JUMP",
    "CROUCH",
    "TURN180",
    "ALTATTACK",
    "RELOAD",
    "ZOOM",
    "SPEED",
    "STRAFE",
    "MOVE_RIGHT",
    "MOVE_LEFT",
    "MOVE_BACKWARD",
    "MOVE_FORWARD",
    "TURN_RIGHT",
    "TURN_LEFT",
    "LOOK_UP",
    "LOOK_DOWN",
    "MOVE_UP",
    "MOVE_DOWN",
    "LAND",
    "SELECT_WEAPON1",
    "SELECT_WEAPON2",
    "SELECT_WEAPON3",
    "SELECT_WEAPON4",
    "SELECT_WEAPON5",
    "SELECT_WEAPON6",
    "SELECT_WEAPON7",
    "SELECT_WEAPON8",
    "SELECT_WEAPON9",
    "SELECT_WEAPON0",
    "SELECT_NEXT_WEAPON",
    "SELECT_PREV_WEAPON",
    "DROP_SELECTED_WEAPON",
    "ACTIVATE_SELECTED_ITEM",
    "SELECT_NEXT_ITEM",
    "SELECT_PREV_ITEM",
    "DROP_SELECTED_ITEM",
    "LOOK_UP_DOWN_DELTA",
    "TURN_LEFT_RIGHT_DELTA",
    "MOVE_FORWARD_BACKWARD_DELTA",
    "MOVE_LEFT_RIGHT_DELTA",
    "MOVE_UP_DOWN_DELTA"};

// The start of the list of variables; `VariableNames` appends the numbered families.
constexpr std::array<std::string_view, 17> kFirstVariables = {
    "KILLCOUNT",           "ITEMCOUNT",    "SECRETCOUNT",     "FRAGCOUNT",
    "DEATHCOUNT",          "HITCOUNT",     "HITS_TAKEN",      "DAMAGECOUNT",
    "DAMAGE_TAKEN",        "HEALTH",       "ARMOR",           "DEAD",
    "ON_GROUND",           "ATTACK_READY", "ALTATTACK_READY", "SELECTED_WEAPON",
    "SELECTED_WEAPON_AMMO"};
constexpr std::array<std::string_view, 17> kPlaceVariables = {"POSITION_X",
                                                              "POSITION_Y",
                                                              "POSITION_Z",
                                                              "ANGLE",
                                                              "PITCH",
                                                              "ROLL",
                                                              "VIEW_HEIGHT",
                                                              "VELOCITY_X",
                                                              "VELOCITY_Y",
                                                              "VELOCITY_Z",
                                                              "CAMERA_POSITION_X",
                                                              "CAMERA_POSITION_Y",
                                                              "CAMERA_POSITION_Z",
                                                              "CAMERA_ANGLE",
                                                              "CAMERA_PITCH",
                                                              "CAMERA_ROLL",
                                                              "CAMERA_FOV"};

constexpr int kAmmo = 17;
constexpr int kWeapon = kAmmo + protocol::kSlots;
constexpr int kMovement = kWeapon + protocol::kSlots;
constexpr int kCamera = kMovement + 10;
constexpr int kPlayerNumber = kCamera + 7;
constexpr int kPlayerCount = kPlayerNumber + 1;
constexpr int kPlayersFrags = kPlayerCount + 1;
constexpr int kUser = kPlayersFrags + protocol::kPlayers;

const std::vector<std::string>& VariableNames() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list(kFirstVariables.begin(), kFirstVariables.end());
    const auto family = [&list](const std::string& prefix, int first, int count,
                                const std::string& suffix) {
      for (int i = 0; i < count; ++i) {
        list.push_back(prefix);
        list.back().append(std::to_string(first + i)).append(suffix);
      }
    };
    family("AMMO", 0, protocol::kSlots, "");
    family("WEAPON", 0, protocol::kSlots, "");
    list.insert(list.end(), kPlaceVariables.begin(), kPlaceVariables.end());
    list.emplace_back("PLAYER_NUMBER");
    list.emplace_back("PLAYER_COUNT");
    family("PLAYER", 1, protocol::kPlayers, "_FRAGCOUNT");
    family("USER", 1, protocol::kUserVariables, "");
    return list;
  }();
  return names;
}

template <typename Names>
int IndexOf(const Names& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

}  // namespace

int ButtonIndex(const std::string& name) { return IndexOf(kButtonNames, name); }

int VariableIndex(const std::string& name) { return IndexOf(VariableNames(), name); }

double ReadVariable(const protocol::GameState& state, int index) {
  switch (index) {
    case 0:
      return state.map_kill_count;
    case 1:
      return state.map_item_count;
    case 2:
      return state.map_secret_count;
    case 3:
      return state.player_frag_count;
    case 4:
      return state.player_death_count;
    case 5:
      return state.player_hit_count;
    case 6:
      return state.player_hits_taken;
    case 7:
      return state.player_damage_count;
    case 8:
      return state.player_damage_taken;
    case 9:
      return state.player_health;
    case 10:
      return state.player_armor;
    case 11:
      return state.player_dead ? 1 : 0;
    case 12:
      return state.player_on_ground ? 1 : 0;
    case 13:
      return state.player_attack_ready ? 1 : 0;
    case 14:
      return state.player_alt_attack_ready ? 1 : 0;
    case 15:
      return state.player_selected_weapon;
    case 16:
      return state.player_selected_weapon_ammo;
    case kPlayerNumber:
      return state.player_number;
    case kPlayerCount:
      return state.player_count;
    default:
      break;
  }
  if (index < kWeapon) return state.player_ammo[index - kAmmo];
  if (index < kMovement) return state.player_weapon[index - kWeapon];
  if (index < kCamera) return state.player_movement[index - kMovement];
  if (index < kPlayerNumber) return state.camera[index - kCamera];
  if (index < kUser) return state.players_frag_count[index - kPlayersFrags];
  return state.user_variables[index - kUser];
}

}  // namespace jaxfactory
