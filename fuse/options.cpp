#include "fuse/options.h"

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <charconv>
#include <sstream>
#include <string_view>

#include "base/suggest.h"

namespace fvdfs {
namespace {

namespace po = boost::program_options;

// Those that apply_mount_option() knows by name, which are also what a mistyped one may have meant.
constexpr std::array<std::string_view, 18> kOwn{
    "ro",         "rw",        "shrink",      "writeback_cache", "force_share",    "allow_other", "default_permissions",
    "uid=",       "gid=",      "umask=",      "max_read=",       "max_readahead=", "fsname=",     "subtype=",
    "log_level=", "log_file=", "log_target=", "pidfile="};
// For the kernel; libfuse turns them into mount flags or hands them to fusermount3.
constexpr std::array<std::string_view, 16> kPassedOn{
    "suid", "nosuid", "dev",     "nodev",      "exec",       "noexec",        "atime",        "noatime",
    "sync", "async",  "dirsync", "nodiratime", "norelatime", "nostrictatime", "auto_unmount", "allow_root"};
constexpr std::array<std::string_view, 4> kPassedOnWithValue{"context=", "fscontext=", "defcontext=", "rootcontext="};
// For mount(8) and systemd, which do not always take them out; and what is the kernel's default anyway.
constexpr std::array<std::string_view, 16> kIgnored{
    "auto",   "noauto",   "user",     "nouser",   "users",       "owner",    "group",      "_netdev",
    "nofail", "defaults", "relatime", "diratime", "strictatime", "lazytime", "nolazytime", "nonempty"};

constexpr std::array<std::string_view, 7> kLogLevels{"trace", "debug", "info", "warning", "error", "critical", "off"};

constexpr std::array<std::string_view, 3> kLogTargets{"stderr", "syslog", "journald"};

po::options_description visible_options() {
  po::options_description options("Options");
  options.add_options()                                                                                   //
      ("help,h", "print this help and exit")                                                              //
      ("version,V", "print the version and exit")                                                         //
      ("foreground,f", "stay in the foreground")                                                          //
      ("debug,d", "print every request; implies -f")                                                      //
      ("read-only,r", "mount read-only, as -o ro")                                                        //
      ("options,o", po::value<std::vector<std::string>>()->value_name("LIST")->composing(),               //
       "mount options, separated by commas; see below")                                                   //
      ("log-level", po::value<std::string>()->value_name("LEVEL"),                                        //
       "trace, debug, info, warning, error, critical or off")                                             //
      ("log-file", po::value<std::string>()->value_name("FILE"),                                          //
       "append the log to FILE; default: standard error with -f, else the system log")                    //
      ("log-target", po::value<std::string>()->value_name("TARGET"),                                      //
       "stderr (with -f), syslog or journald, where no --log-file is given")                              //
      ("pidfile", po::value<std::string>()->value_name("FILE"),                                           //
       "write the daemon's process id to FILE once the mount answers; removed when the image is closed")  //
      ("force-share", "with -r: open the image although another process writes it");
  return options;
}

// The mount option that `name`, which is none, is most like; "" when it is like none.
std::string suggested_mount_option(std::string_view name) {
  std::vector<std::string_view> known;
  const auto add = [&](const auto& options) {
    for (const std::string_view option : options) known.push_back(option.substr(0, option.find('=')));
  };
  add(kOwn);
  add(kPassedOn);
  add(kPassedOnWithValue);
  add(kIgnored);
  const std::string near = fvd::suggest(name, known);
  const auto takes_value = [&](const auto& options) {
    return std::find(options.begin(), options.end(), near + "=") != options.end();
  };
  return near + (takes_value(kOwn) || takes_value(kPassedOnWithValue) ? "=" : "");
}

// The same for an option of the command line, as "--NAME" or "-o NAME".
std::string suggested_option(const std::string& typed) {
  if (!typed.starts_with("--")) return {};
  const std::string name = typed.substr(2, typed.find('=') - 2);
  const po::options_description options = visible_options();
  std::vector<std::string_view> known;
  for (const auto& option : options.options()) known.push_back(option->long_name());
  if (const std::string near = fvd::suggest(name, known); !near.empty()) return "--" + near;
  const std::string near = suggested_mount_option(name);
  return near.empty() ? "" : "-o " + near;
}

std::string did_you_mean(const std::string& near) { return near.empty() ? "" : "; did you mean " + near + "?"; }

bool starts_with_any(std::string_view text, const auto& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view p) { return text.starts_with(p); });
}

template <typename Number>
bool parse_number(std::string_view text, int base, Number* number) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), *number, base);
  return status == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool set_log_level(const std::string& level, Options* options, std::string* error) {
  if (std::find(kLogLevels.begin(), kLogLevels.end(), level) == kLogLevels.end()) {
    *error = "unknown log level '" + level + "': trace, debug, info, warning, error, critical and off are known";
    return false;
  }
  options->log_level = level;
  return true;
}

bool set_log_target(const std::string& target, Options* options, std::string* error) {
  if (std::find(kLogTargets.begin(), kLogTargets.end(), target) == kLogTargets.end()) {
    *error = "unknown log target '" + target + "': stderr, syslog and journald are known, and --log-file for a file";
    return false;
  }
  options->log_target = target;
  return true;
}

// One element of an -o list.
bool apply_mount_option(const std::string& text, Options* options, std::string* error) {
  const std::size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const bool has_value = equals != std::string::npos;
  const std::string value = has_value ? text.substr(equals + 1) : "";
  const auto bad_value = [&] {
    *error = "mount option '" + text + "': not a valid value";
    return false;
  };
  const auto is_flag = [&](std::string_view flag) { return !has_value && name == flag; };

  if (text.empty()) return true;
  if (is_flag("ro")) return options->read_only = true;
  if (is_flag("rw")) {
    options->read_only = false;
    return true;
  }
  if (is_flag("shrink")) return options->shrink = true;
  if (is_flag("writeback_cache")) return options->writeback_cache = true;
  if (is_flag("force_share")) return options->force_share = true;
  if (is_flag("allow_other")) return options->allow_other = true;
  if (is_flag("default_permissions")) return options->default_permissions = true;
  if (has_value && name == "uid") {
    uid_t uid = 0;
    if (!parse_number(value, 10, &uid)) return bad_value();
    options->uid = uid;
    return true;
  }
  if (has_value && name == "gid") {
    gid_t gid = 0;
    if (!parse_number(value, 10, &gid)) return bad_value();
    options->gid = gid;
    return true;
  }
  if (has_value && name == "umask") {
    mode_t mask = 0;
    if (!parse_number(value, 8, &mask) || mask > 0777) return bad_value();
    options->umask = mask;
    return true;
  }
  if (has_value && name == "max_read") {
    if (!parse_number(value, 10, &options->max_read) || options->max_read < 4096) return bad_value();
    return true;
  }
  if (has_value && name == "max_readahead") {
    return parse_number(value, 10, &options->max_readahead) || bad_value();
  }
  if (has_value && (name == "fsname" || name == "subtype")) {
    if (value.empty()) return bad_value();
    (name == "fsname" ? options->fsname : options->subtype) = value;
    return true;
  }
  if (has_value && name == "log_level") return set_log_level(value, options, error);
  if (has_value && name == "log_target") return set_log_target(value, options, error);
  if (has_value && name == "log_file") {
    options->log_file = value;
    return true;
  }
  if (has_value && name == "pidfile") {
    options->pid_file = value;
    return true;
  }
  if (std::find(kIgnored.begin(), kIgnored.end(), text) != kIgnored.end()) return true;
  if (text.starts_with("x-") || text.starts_with("X-") || text.starts_with("comment=")) return true;
  if (std::find(kPassedOn.begin(), kPassedOn.end(), text) != kPassedOn.end() ||
      starts_with_any(text, kPassedOnWithValue)) {
    options->mount_options.push_back(text);
    return true;
  }
  *error = "unknown mount option '" + text + "'" + did_you_mean(suggested_mount_option(name));
  return false;
}

bool apply_mount_options(const std::string& list, Options* options, std::string* error) {
  // A comma inside a value is written "\,", as everywhere in FUSE.
  std::string element;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i == list.size() || list[i] == ',') {
      if (!apply_mount_option(element, options, error)) return false;
      element.clear();
    } else if (list[i] == '\\' && i + 1 < list.size()) {
      element += list[++i];
    } else {
      element += list[i];
    }
  }
  return true;
}

}  // namespace

std::optional<Options> parse_options(const std::vector<std::string>& arguments, std::string* error) {
  po::options_description all = visible_options();
  // mount(8) may add these; they mean nothing here.
  all.add_options()("no-mtab,n", "")("verbose,v", "")("single,s", "");
  all.add_options()("positional", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("positional", -1);
  po::variables_map values;
  try {
    const auto style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(arguments).options(all).positional(positional).style(style).run(), values);
    po::notify(values);
  } catch (const po::unknown_option& e) {
    *error = e.what() + did_you_mean(suggested_option(e.get_option_name()));
    return std::nullopt;
  } catch (const po::error& e) {
    *error = e.what();
    return std::nullopt;
  }

  Options options;
  options.help = values.count("help") != 0;
  options.version = values.count("version") != 0;
  if (options.help || options.version) return options;
  if (values.count("options") != 0) {
    for (const auto& list : values["options"].as<std::vector<std::string>>()) {
      if (!apply_mount_options(list, &options, error)) return std::nullopt;
    }
  }
  options.debug = values.count("debug") != 0;
  options.foreground = options.debug || values.count("foreground") != 0;
  if (values.count("read-only") != 0) options.read_only = true;
  if (values.count("force-share") != 0) options.force_share = true;
  if (values.count("log-file") != 0) options.log_file = values["log-file"].as<std::string>();
  if (values.count("pidfile") != 0) options.pid_file = values["pidfile"].as<std::string>();
  if (values.count("log-level") != 0 && !set_log_level(values["log-level"].as<std::string>(), &options, error)) {
    return std::nullopt;
  }
  if (values.count("log-target") != 0 && !set_log_target(values["log-target"].as<std::string>(), &options, error)) {
    return std::nullopt;
  }
  if (!options.log_target.empty() && !options.log_file.empty()) {
    *error = "the log goes to --log-file or to --log-target, not to both";
    return std::nullopt;
  }
  if (options.log_target == "stderr" && !options.foreground) {
    *error = "a daemon in the background has no standard error to log to: add -f";
    return std::nullopt;
  }
  const auto names = values.count("positional") != 0 ? values["positional"].as<std::vector<std::string>>()
                                                     : std::vector<std::string>();
  if (names.size() != 2) {
    *error = names.size() < 2 ? "an image and a mount point are needed" : "too many arguments: '" + names[2] + "'";
    return std::nullopt;
  }
  options.image = names[0];
  options.mount_point = names[1];
  if (options.image.empty() || options.mount_point.empty()) {
    *error = "an image and a mount point are needed";
    return std::nullopt;
  }
  if (options.force_share && !options.read_only) {
    *error = "force_share needs a read-only mount (-r or -o ro)";
    return std::nullopt;
  }
  return options;
}

std::optional<Options> parse_mount_helper_options(const std::vector<std::string>& arguments, std::string* error) {
  std::vector<std::string> own;
  bool fake = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "-f") {
      fake = true;
    } else if (arguments[i] == "-t") {
      ++i;  // the type, which is known
    } else {
      own.push_back(arguments[i]);
    }
  }
  auto options = parse_options(own, error);
  if (options) options->fake = fake;
  return options;
}

std::string help_text() {
  std::ostringstream text;
  text << "Usage: fvdfs [options] IMAGE MOUNTPOINT\n"
          "Mounts an FVD image: its writable disk as MOUNTPOINT/current-state, its snapshots below\n"
          "MOUNTPOINT/snapshots (mkdir takes one, mv to snapshots/current-state goes to one, rmdir deletes one).\n\n"
       << visible_options()
       << "\nMount options (-o):\n"
          "  ro, rw                 read-only; read-write (default)\n"
          "  allow_other            let other users in (needs user_allow_other in /etc/fuse.conf for ordinary users)\n"
          "  allow_root             let root in as well as the mounting user\n"
          "  uid=N, gid=N           owner of everything in the mount; default: the mounting user\n"
          "  umask=OCTAL            permissions of everything in the mount; default: those of the image file\n"
          "  default_permissions    have the kernel check permissions; implied by allow_other\n"
          "  shrink                 let truncate make the disk smaller\n"
          "  writeback_cache        let the kernel hold back small writes: faster, but lost if the daemon is killed\n"
          "  force_share            with ro: open the image although another process writes it\n"
          "  fsname=, subtype=      what /proc/mounts shows as source and type; default: the image, and fvdfs\n"
          "  max_read=N             largest read request of the kernel in bytes, at least 4096; default 262144\n"
          "  max_readahead=N        how far the kernel reads ahead, in bytes; default 1048576, or 131072 for ordinary "
          "users\n"
          "  auto_unmount           unmount also when the daemon is killed; for ordinary users with allow_other or "
          "allow_root\n"
          "  log_level=, log_file=, log_target=, pidfile=   as the options of the same name, for fstab\n"
          "  suid, nosuid, dev, nodev, exec, noexec, atime, noatime, nodiratime, norelatime, nostrictatime,\n"
          "  sync, async, dirsync, context=, fscontext=, defcontext=, rootcontext=   as in mount(8)\n"
          "\n-n, -v and -s are accepted and ignored, as mount(8) may add them.\n";
  return text.str();
}

}  // namespace fvdfs
