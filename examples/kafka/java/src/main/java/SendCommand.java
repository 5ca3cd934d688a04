import static java.nio.charset.StandardCharsets.UTF_8;

import java.math.BigDecimal;
import java.util.Properties;
import java.util.UUID;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends one Command as a record: SendCommand BROKERS REGISTRY INSTANCE AMOUNT [COMMAND_ID]. If the deployment has a prefix: PREFIX=acme. */
final class SendCommand {
    static final String COMMANDS = System.getenv().getOrDefault("PREFIX", "") + "bank.Checking.commands";

    static Properties settings(String brokers) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("acks", "all");
        return settings; // the default partitioner is the right one
    }

    static ProducerRecord<String, byte[]> record(Registry registry, String instance, BigDecimal amount, String id) throws Exception {
        Registry.Numbered schema = registry.latest("bank.checking.WithdrawCash");
        GenericRecord data = new GenericData.Record(schema.schema());
        data.put("amount", amount);
        ProducerRecord<String, byte[]> record = new ProducerRecord<>(COMMANDS, instance, registry.encode(schema, data));
        record.headers().add("ce_id", id.getBytes(UTF_8));
        record.headers().add("ce_type", "WithdrawCash".getBytes(UTF_8));
        return record;
    }

    public static void main(String[] arguments) throws Exception {
        String id = arguments.length > 4 ? arguments[4] : UUID.randomUUID().toString();
        try (var producer = new KafkaProducer<>(settings(arguments[0]), new StringSerializer(), new ByteArraySerializer())) {
            producer.send(record(new Registry(arguments[1]), arguments[2], new BigDecimal(arguments[3]), id)).get();
        }
        System.out.println(id);
    }
}
