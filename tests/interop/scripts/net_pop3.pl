# net_pop3.pl HOST PORT MODE CAFILE USER FOLDER < PASSWORD: every message becomes a numbered file.
use strict;
use warnings;
use Net::POP3;

my ($host, $port, $mode, $cafile, $user, $folder) = @ARGV;
chomp(my $password = <STDIN>);
my @tls = (SSL_ca_file => $cafile, SSL_verifycn_name => $host);
my @implicit = $mode eq 'tls' ? (SSL => 1, @tls) : ();

my $pop = Net::POP3->new($host, Port => $port, Timeout => 30, @implicit) or die "no connection: $@";
$mode eq 'stls' and ($pop->starttls(@tls) or die 'STLS: ' . $pop->message);
defined(my $count = $pop->login($user, $password)) or die 'login: ' . $pop->message;
for my $number (1 .. $count) {
    my $lines = $pop->get($number) or die "RETR $number: " . $pop->message;
    # Without TLS Net::Cmd hands out lines with LF for CRLF; with TLS it leaves them as they are.
    $mode eq 'plain' and s/\n\z/\r\n/ for @$lines;
    open my $file, '>:raw', "$folder/$number" or die $!;
    print $file @$lines;
    close $file or die $!;
}
$pop->quit or die 'QUIT: ' . $pop->message;
