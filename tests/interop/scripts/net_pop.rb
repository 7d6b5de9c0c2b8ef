# net_pop.rb HOST PORT MODE CAFILE USER FOLDER < PASSWORD: every message becomes a numbered file.
require "net/pop"

host, port, mode, cafile, user, folder = ARGV
password = $stdin.gets.chomp
pop = Net::POP3.new(host, port.to_i)
pop.enable_ssl({ca_file: cafile, verify_mode: OpenSSL::SSL::VERIFY_PEER}) if mode == "tls"
pop.start(user, password) do |session|
  session.each_mail { |mail| File.binwrite(File.join(folder, mail.number.to_s), mail.pop) }
end
