// tracewise join: a node that joins a run that goes on.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>

#include "launch/commands/cli.hpp"
#include "launch/config_key.hpp"
#include "launch/invitation.hpp"
#include "launch/node_run.hpp"
#include "launch/signals.hpp"
#include "transport/secret_file.hpp"

namespace tracewise {
namespace {

constexpr size_t kMaxTokenBytes = size_t{64} << 10;

struct Words {
  std::string address, token;
  Seats seats;
  std::vector<std::string> devices;
  uint32_t threads = 0;
  std::string host, listen;
  uint16_t port = 0;
};

Result<std::string> read_token(const std::string& file) {
  if (file != "-") return read_secret_file(file);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(STDIN_FILENO, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > kMaxTokenBytes)
      return bad_input("standard input is no token: it is too long");
  }
  return text;
}

// HOST:PORT, or [V6]:PORT.
Result<HeadAddress> parse_address(const std::string& text) {
  const auto colon = text.rfind(':');
  HeadAddress address;
  if (colon != std::string::npos) {
    address.host = text.substr(0, colon);
    const char* end = text.data() + text.size();
    const auto [last, failure] = std::from_chars(text.data() + colon + 1, end, address.port);
    if (failure != std::errc() || last != end) address.port = 0;
  }
  if (address.host.starts_with('[') && address.host.ends_with(']'))
    address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host.empty() || address.port == 0)
    return bad_input("'" + text + "' is no address of a head: HOST:PORT");
  return address;
}

// What the node brings, over what the invitation says.
Result<Invitation> prepare(const Words& words) {
  TW_ASSIGN(const std::string text, read_token(words.token));
  TW_ASSIGN(Invitation invitation, invitation_from_text(text));
  if (!words.address.empty()) {
    TW_ASSIGN(invitation.head, parse_address(words.address));
  }
  NodeEnvelope& envelope = invitation.envelope;
  envelope.seats = words.seats;
  Seats& seats = envelope.seats;
  if (seats == Seats{}) seats.generators = std::max<uint32_t>(1, words.devices.size());
  if (!words.devices.empty() && words.devices.size() != seats.generators)
    return bad_input("--devices names one device for each of the --generators");
  if (!std::ranges::all_of(words.devices, is_device_name))
    return bad_input("--devices: a device is cpu or cuda:N");
  envelope.devices = words.devices;
  envelope.threads = words.threads;
  if (!words.host.empty()) envelope.host = words.host;
  if (!words.listen.empty()) envelope.door.address = words.listen;
  envelope.door.port = words.port;
  envelope.door.fixed_port = words.port != 0;
  return invitation;
}

void add_options(CLI::App& app, Words& words) {
  app.add_option("ADDRESS", words.address, "of the head, HOST:PORT; default: the token's");
  app.add_option("--token", words.token, "file that tracewise invite has made; - is standard input")
      ->type_name("FILE")
      ->required();
  app.add_option("--generators", words.seats.generators, "seats; 1 if none of the three is said");
  app.add_option("--tracers", words.seats.tracers, "seats");
  app.add_option("--builders", words.seats.builders, "seats");
  app.add_option("--devices", words.devices, "cpu or cuda:N, one for each generator")
      ->delimiter(',')
      ->type_name("DEVICE,...");
  app.add_option("--threads", words.threads, "of each generator; default: engine.threads");
  app.add_option("--host", words.host, "under which other nodes reach this one; default: its name");
  app.add_option("--listen", words.listen, "address, a number, that other nodes connect to");
  app.add_option("--port", words.port, "that they connect to; default: any");
}

void print(const NodeReport& report) {
  const auto* event = std::get_if<EventReport>(&report);
  if (event == nullptr) return;
  std::printf("%s\n", event->line.c_str());
  std::fflush(stdout);
}

}  // namespace

int cmd_join(const Args& args) {
  CLI::App app(
      "Joins a run that goes on, from any host that its nodes can reach, and works for it until "
      "the\n"
      "run is over or the node is drained. The same binary is needed, and the run's model at the\n"
      "same path. A signal makes it leave at once: its work is then issued again elsewhere.",
      "tracewise join");
  Words words;
  add_options(app, words);
  if (const auto exit = parse_args(app, args)) return *exit;

  std::signal(SIGPIPE, SIG_IGN);
  const std::stop_token stop = stop_on_signals();
  const auto invitation = prepare(words);
  if (!invitation.ok()) return fail(invitation.error());
  const NodeEnvelope& envelope = invitation->envelope;
  std::printf("%s joins the run at %s\n", envelope.identity.node.c_str(),
              place_name(invitation->head.host, invitation->head.port).c_str());
  std::fflush(stdout);
  const auto summary = join_run(envelope, invitation->head, stop, print);
  if (!summary.ok()) return fail(summary.error());
  std::printf("%s has left the run\n", envelope.identity.node.c_str());
  return summary->interrupted ? kExitInterrupted : kExitDone;
}

}  // namespace tracewise
