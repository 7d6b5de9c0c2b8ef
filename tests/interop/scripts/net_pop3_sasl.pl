# net_pop3_sasl.pl HOST PORT MODE CAFILE MECHANISM USER < PASSWORD: the first message goes to standard output.
use strict;
use warnings;
use Net::POP3;
use Authen::SASL qw(Perl);

my ($host, $port, $mode, $cafile, $mechanism, $user) = @ARGV;
chomp(my $password = <STDIN>);
my @tls = (SSL_ca_file => $cafile, SSL_verifycn_name => $host);
my @implicit = $mode eq 'tls' ? (SSL => 1, @tls) : ();

my $pop = Net::POP3->new($host, Port => $port, Timeout => 30, @implicit) or die "no connection: $@";
$mode eq 'stls' and ($pop->starttls(@tls) or die 'STLS: ' . $pop->message);
my $sasl = Authen::SASL->new(mechanism => $mechanism, callback => {user => $user, authname => '', pass => $password});
$pop->auth($sasl) or die 'login: ' . $pop->message;
my $lines = $pop->get(1) or die 'RETR: ' . $pop->message;
# Without TLS Net::Cmd hands out lines with LF for CRLF; with TLS it leaves them as they are.
$mode eq 'plain' and s/\n\z/\r\n/ for @$lines;
binmode STDOUT;
print @$lines;
$pop->quit or die 'QUIT: ' . $pop->message;
