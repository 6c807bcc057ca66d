#include "launch/shell/console.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <sstream>
#include <utility>

#include "actors/wait_graph.hpp"
#include "launch/nearest.hpp"
#include "launch/nodes_table.hpp"
#include "launch/shell/json_text.hpp"
#include "launch/text_table.hpp"

namespace tracewise {
namespace {

using nlohmann::ordered_json;

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", seconds);
  return text;
}

std::string waits_text(const ActorStatus& actor) {
  std::string text;
  for (const WaitStatus& wait : actor.waits)
    text += (text.empty() ? "" : "; ") + wait.who + ": " + wait.what;
  return text;
}

ordered_json to_json(const WaitLink& link) {
  ordered_json j = {{"node", link.node},
                    {"actor", link.actor.name},
                    {"state", link.actor.state},
                    {"state_seconds", link.actor.state_seconds},
                    {"mailbox", link.actor.mailbox}};
  if (link.wait) {
    j["waits_for"] = link.wait->who;
    j["what"] = link.wait->what;
    j["since_seconds"] = link.wait->since_seconds;
    j["left_seconds"] = link.wait->left_seconds;
  }
  return j;
}

const char* end_name(WaitChain::End end) {
  switch (end) {
    case WaitChain::End::kWorks:
      return "works";
    case WaitChain::End::kOutside:
      return "outside";
    case WaitChain::End::kCycle:
      return "cycle";
  }
  return "";
}

ordered_json to_json(const WaitChain& chain) {
  ordered_json links = ordered_json::array();
  for (const WaitLink& link : chain.links) links.push_back(to_json(link));
  return {{"end", end_name(chain.end)}, {"note", chain.note}, {"links", links}};
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

}  // namespace

Result<std::vector<std::string>> shell_words(const std::string& line) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (const char c : line) {
    if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        words.back() += c;
      continue;
    }
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      in_word = false;
      continue;
    }
    if (!std::exchange(in_word, true)) words.emplace_back();
    if (c == '\'' || c == '"')
      quote = c;
    else
      words.back() += c;
  }
  if (quote != 0) return bad_input(std::string("the quote ") + quote + " has no end");
  return words;
}

Result<std::optional<Watch>> watch_of(const std::string& line) {
  TW_ASSIGN(const auto words, shell_words(line));
  if (words.empty() || words[0] != "watch") return std::optional<Watch>();
  Watch watch;
  size_t at = line.find("watch") + 5;
  if (words.size() > 1) {
    const std::string& first = words[1];
    double seconds = 0;
    const auto [end, failure] = std::from_chars(first.data(), first.data() + first.size(), seconds);
    if (failure == std::errc() && end == first.data() + first.size()) {
      if (!(seconds >= 0.1 && seconds <= 86400))
        return bad_input("watch: " + first + " is no interval; 0.1 to 86400 seconds are");
      watch.seconds = seconds;
      at = line.find(first, at) + first.size();
    }
  }
  const size_t begin = line.find_first_not_of(" \t", at);
  if (begin == std::string::npos) return bad_input("watch needs a command: watch 2 ps");
  watch.line = line.substr(begin);
  return std::optional<Watch>(std::move(watch));
}

const std::vector<Console::Command>& Console::commands() {
  static const std::vector<Command> all = {
      {"ps", "", "every actor of every node: what it does and whom it waits for",
       "mailbox: messages that wait for the actor; handled: those it has taken.\n"
       "  ps",
       &Console::actors, 0, nullptr},
      {"why", "[ACTOR]", "what an actor waits for in the end, over all who wait in between",
       "Of an actor's waits the one that began first leads on. Without a name: the coordinator, "
       "and\n"
       "all who wait for each other; of a run that is over, how it ended. A name that several "
       "nodes have is told with its node.\n"
       "  why generator 1\n  why gen0/agent",
       &Console::why, 1, &Console::actor_names},
      {"waits", "", "every wait with its deadline, that which has least time left first", "  waits",
       &Console::waits, 0, nullptr},
      {"nodes", "", "the run's nodes, their seats and the groups that went through each", "  nodes",
       &Console::nodes, 0, nullptr},
      {"ledger", "", "how many groups are in which state, and what attempts failed of", "  ledger",
       &Console::ledger, 0, nullptr},
      {"lineage", "GROUP", "what became of a group: state, versions, failures, rollouts",
       "Rollouts are those that were logged (run.log_rollouts).\n  lineage 12", &Console::lineage,
       1, nullptr},
      {"metrics", "[NAME]", "the newest value of every metric, or one as a line over steps",
       "  metrics train/accuracy", &Console::metrics, 1, &Console::metric_names},
      {"config", "[KEY]", "the run's config, a key or a group of keys of it",
       "  config advantage\n  config optimizer.lr", &Console::config, 1, &Console::key_names},
      {"log", "[NODE] [-f]", "the last lines of a node's log; of the only one without a name",
       "With -f also what is written from now on, until Ctrl-C.\n  log gen0\n  log gen0 -f",
       &Console::log, 1, &Console::log_names},
      {"events", "[KIND]", "what happened: nodes, stalls, checkpoints, an operator's orders",
       "  events\n  events stall", &Console::events, 1, &Console::event_kinds},
      {"show", "GROUP[/SAMPLE]", "logged rollouts of a group: steps with V_k, gain and advantage",
       "Rollouts are those that were logged (run.log_rollouts); lineage names them.\n  show 12\n  "
       "show 12/3",
       &Console::show, 1, nullptr},
      {"drain", "NODE", "lets a node finish what it has and leave",
       "It gets no new work from now on; nodes shows how far it is.\n  drain gen0", &Console::drain,
       1, &Console::node_names},
      {"pause", "", "sends out nothing new; what is under way comes to its end",
       "Training time stands still as soon as nothing is left to be done; resume ends it.\n  pause",
       &Console::pause, 0, nullptr},
      {"resume", "", "ends a pause", "  resume", &Console::resume, 0, nullptr},
      {"checkpoint", "", "writes a checkpoint of the last step now, beside the training",
       "Refused where the last step is in one already.\n  checkpoint", &Console::checkpoint, 0,
       nullptr},
      {"eval", "", "evaluates the weights once what is under way has come to its end",
       "Nothing new is sent out until then; training goes on after it.\n  eval", &Console::evaluate,
       0, nullptr},
      {"stop", "[--after STEP]",
       "ends the run with a checkpoint; tracewise train --resume RUN goes on with it",
       "As Ctrl-C does where it was started. It asks first; in scripts --yes is the answer. With\n"
       "--after the run goes on until that step is done.\n  stop\n  stop --after 120",
       &Console::stop, 1, nullptr, true},
      {"help", "[COMMAND]", "all commands, or more about one", "  help why", &Console::help, 1,
       &Console::command_names},
  };
  return all;
}

Result<const Console::Command*> Console::command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == name) return &command;
    names.emplace_back(command.name);
  }
  const std::string near = did_you_mean(name, names);
  return bad_input("there is no command " + name + (near.empty() ? "; help lists them" : near));
}

bool Console::is_dangerous(const std::string& line) {
  const auto words = shell_words(line);
  if (!words.ok() || words->empty()) return false;
  const auto wanted = command(words->front());
  return wanted.ok() && (*wanted)->dangerous;
}

Result<std::string> Console::run(const std::string& line) const {
  TW_ASSIGN(Words words, shell_words(line));
  if (words.empty()) return std::string();
  TW_ASSIGN(const Command* const wanted, command(words.front()));
  words.erase(words.begin());
  // Actors' names have blanks.
  if (wanted->most_words == 1 && words.size() > 1) words = {joined(words, " ")};
  if (words.size() > wanted->most_words) {
    return bad_input(std::string(wanted->name) + " takes nothing behind it, but there is '" +
                     joined(words, " ") + "'");
  }
  return (this->*wanted->carry_out)(words);
}

std::string Console::table(const std::vector<std::vector<std::string>>& rows,
                           const std::vector<Tone>& tones) const {
  const std::string plain = aligned(rows);
  if (format_ != Format::kColours) return plain;
  static constexpr const char* kCodes[] = {"", "\x1b[1m", "\x1b[33m", "\x1b[31m"};
  std::istringstream lines(plain);
  std::string out, line;
  for (size_t i = 0; std::getline(lines, line); ++i) {
    const char* const code = kCodes[static_cast<size_t>(tones[i])];
    out += code + line + (*code != 0 ? "\x1b[0m\n" : "\n");
  }
  return out;
}

Result<std::string> Console::help(const Words& words) const {
  if (!words.empty()) {
    TW_ASSIGN(const Command* const about, command(words[0]));
    const std::string usage = *about->usage == 0 ? "" : std::string(" ") + about->usage;
    return about->name + usage + ": " + about->summary + "\n" + about->details + "\n";
  }
  std::vector<std::vector<std::string>> rows;
  for (const Command& command : commands())
    rows.push_back({command.name, command.usage, command.summary});
  rows.push_back({"watch", "[SECONDS] COMMAND", "carries it out again and again, until Ctrl-C"});
  rows.push_back({"exit", "", "leaves the shell; the run goes on"});
  return aligned(rows);
}

Result<std::string> Console::nodes(const Words&) const {
  TW_ASSIGN(const auto nodes, ask_({}));
  return format_ == Format::kJson ? nodes_json(nodes) : nodes_table(nodes);
}

Result<std::string> Console::actors(const Words&) const {
  TW_ASSIGN(const auto nodes, ask_({ControlRequest::Kind::kActors, "", {}}));
  if (format_ == Format::kJson) return nodes_json(nodes);
  std::vector<std::vector<std::string>> rows = {
      {"node", "actor", "state", "for", "mailbox", "handled", "waits for"}};
  std::vector<Tone> tones = {Tone::kHead};
  for (const NodeStatus& node : nodes) {
    if (node.actors.empty()) {
      const std::string why = node.unheard.empty() ? node.reason : node.unheard;
      rows.push_back({node.node, "", to_string(node.state), "", "", "", why});
      tones.push_back(node.state == NodeState::kReady ? Tone::kWarn : Tone::kBad);
    }
    for (const ActorStatus& actor : node.actors) {
      rows.push_back({node.node, actor.name, actor.state, seconds_text(actor.state_seconds),
                      std::to_string(actor.mailbox), std::to_string(actor.handled),
                      waits_text(actor)});
      const bool late = std::ranges::any_of(
          actor.waits, [](const WaitStatus& wait) { return wait.left_seconds < 0; });
      tones.push_back(late ? Tone::kBad : Tone::kPlain);
    }
  }
  return table(rows, tones);
}

Result<std::string> Console::waits(const Words&) const {
  TW_ASSIGN(auto nodes, ask_({ControlRequest::Kind::kActors, "", {}}));
  const std::vector<WaitLink> waits = WaitGraph(std::move(nodes)).waits();
  if (format_ == Format::kJson) {
    ordered_json list = ordered_json::array();
    for (const WaitLink& wait : waits) list.push_back(to_json(wait));
    return text_of({{"waits", list}});
  }
  if (waits.empty()) return std::string("nobody waits for anybody\n");
  std::vector<std::vector<std::string>> rows = {
      {"left", "node", "actor", "waits for", "what", "for"}};
  std::vector<Tone> tones = {Tone::kHead};
  for (const WaitLink& wait : waits) {
    rows.push_back({seconds_text(wait.wait->left_seconds), wait.node, wait.actor.name,
                    wait.wait->who, wait.wait->what, seconds_text(wait.wait->since_seconds)});
    tones.push_back(wait.wait->left_seconds < 0 ? Tone::kBad : Tone::kPlain);
  }
  return table(rows, tones);
}

Result<std::string> Console::why(const Words& words) const {
  auto nodes = ask_({ControlRequest::Kind::kActors, "", {}});
  if (!nodes.ok()) {
    const std::string last = view_.last_words();
    if (last.empty() || nodes.error().error_class != ErrorClass::kBadInput) return nodes.error();
    if (format_ == Format::kJson)
      return text_of({{"chains", ordered_json::array()}, {"last_words", last}});
    return "nobody runs it now; the last that was heard: " + last + "\n";
  }
  const WaitGraph graph(std::move(*nodes));
  const std::string name = words.empty() ? "coordinator" : words[0];
  const std::vector<WaitLink> found = graph.find(name);
  if (found.empty())
    return bad_input("there is no actor " + name + did_you_mean(name, graph.names()));
  if (found.size() > 1) {
    Words all;
    for (const WaitLink& link : found) all.push_back(link.node + "/" + link.actor.name);
    return bad_input("several actors are called " + name + ": " + joined(all, ", "));
  }
  std::vector<WaitChain> chains = {graph.why(found.front())};
  if (words.empty()) std::ranges::move(graph.cycles(), std::back_inserter(chains));
  if (format_ == Format::kJson) {
    ordered_json list = ordered_json::array();
    for (const WaitChain& chain : chains) list.push_back(to_json(chain));
    return text_of({{"chains", list}});
  }
  std::string text;
  for (const WaitChain& chain : chains)
    text += (text.empty() ? "" : "\n") + joined(lines_of(chain), "\n") + "\n";
  return text;
}

std::vector<std::string> Console::command_names() const {
  std::vector<std::string> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  return names;
}

std::vector<std::string> Console::actor_names() const {
  auto nodes = ask_({ControlRequest::Kind::kActors, "", {}});
  return nodes.ok() ? WaitGraph(std::move(*nodes)).names() : std::vector<std::string>();
}

std::vector<std::string> Console::node_names() const {
  std::vector<std::string> names;
  if (const auto nodes = ask_({}); nodes.ok())
    for (const NodeStatus& node : *nodes) names.push_back(node.node);
  return names;
}

Console::Completion Console::complete(const std::string& line) const {
  if (auto watch = watch_of(line); watch.ok() && *watch) return complete((*watch)->line);
  const auto words = shell_words(line);
  if (!words.ok()) return {};
  Completion found;
  const size_t begin = line.find_first_not_of(" \t");
  const size_t blank = begin == std::string::npos ? begin : line.find_first_of(" \t", begin);
  if (blank == std::string::npos) {
    found.begun = words->empty() ? "" : words->front();
    found.words = command_names();
    found.words.insert(found.words.end(), {"watch", "exit"});
  } else {
    const size_t argument = line.find_first_not_of(" \t", blank);
    found.begun = argument == std::string::npos ? "" : line.substr(argument);
    const auto wanted = command(words->front());
    if (wanted.ok() && (*wanted)->known != nullptr) found.words = (this->*(*wanted)->known)();
  }
  std::erase_if(found.words,
                [&](const std::string& word) { return !word.starts_with(found.begun); });
  return found;
}

}  // namespace tracewise
